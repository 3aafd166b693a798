# SPDX-License-Identifier: MIT
"""The guest's half of Linux's vsock_test: what each test, by its name, does on this side."""

import io
import sys

import vsock_credit as credit
import vsock_data as data
import vsock_ends as ends
from prelude import dial
from vsock_talk import (
    HOST,
    SECONDS,
    SEQPACKET,
    STREAM,
    Control,
    accept_until,
    accept_until_closed,
    accepted,
    dial_and_close,
    dialled,
    opened,
    same,
)

CONTROL = 5400  # where the host passes the control lines on
# Name of the test: (steps of the client, of the server); None: nothing.
STEPS = {
    "SOCK_STREAM connection reset": (ends.reset_client, None),
    "SOCK_STREAM bind only": (ends.bind_only_client, ends.bind_only_server),
    "SOCK_STREAM client close": (ends.send_and_close(dialled), ends.see_it_closed(accepted)),
    "SOCK_STREAM server close": (ends.see_it_closed(dialled), ends.send_and_close(accepted)),
    "SOCK_STREAM multiple connections": (ends.many(dialled, 0), ends.many(accepted, 1)),
    "SOCK_STREAM MSG_PEEK": (data.peek_client(STREAM), data.peek_server(STREAM)),
    "SOCK_SEQPACKET msg bounds": (data.bounds_client, data.bounds_server),
    "SOCK_SEQPACKET MSG_TRUNC flag": (data.trunc_client, data.trunc_server),
    "SOCK_SEQPACKET timeout": (data.timeout_client, accept_until("WAITDONE", SEQPACKET)),
    "SOCK_SEQPACKET invalid receive buffer": (data.holed_client, data.holed_server),
    "SOCK_STREAM poll() + SO_RCVLOWAT": (credit.lowat_client, credit.lowat_server),
    "SOCK_SEQPACKET big message": (data.big_client, accept_until("CLISENT", SEQPACKET)),
    "SOCK_STREAM test invalid buffer": (
        data.no_buffer_client(STREAM),
        data.no_buffer_server(STREAM),
    ),
    "SOCK_SEQPACKET test invalid buffer": (
        data.no_buffer_client(SEQPACKET),
        data.no_buffer_server(SEQPACKET),
    ),
    "SOCK_STREAM virtio skb merge": (data.merge_client, data.merge_server),
    "SOCK_SEQPACKET MSG_PEEK": (data.peek_client(SEQPACKET), data.peek_server(SEQPACKET)),
    "SOCK_STREAM SHUT_WR": (data.shut_write_client, accept_until("CLIENTDONE")),
    "SOCK_STREAM SHUT_RD": (data.shut_read_client, data.shut_read_server),
    "SOCK_STREAM MSG_ZEROCOPY": (credit.uncopied_client(STREAM), credit.uncopied_server(STREAM)),
    "SOCK_SEQPACKET MSG_ZEROCOPY": (
        credit.uncopied_client(SEQPACKET),
        credit.uncopied_server(SEQPACKET),
    ),
    "SOCK_STREAM MSG_ZEROCOPY empty MSG_ERRQUEUE": (
        credit.no_errors_client,
        accept_until("DONE"),
    ),
    "SOCK_STREAM double bind connect": (ends.double_bind_client, ends.double_bind_server),
    "SOCK_STREAM virtio credit update + SO_RCVLOWAT": (
        credit.credit_client,
        credit.credit_server(False),
    ),
    "SOCK_STREAM virtio credit update + low rx_bytes": (
        credit.credit_client,
        credit.credit_server(True),
    ),
    "SOCK_STREAM ioctl(SIOCOUTQ) 0 unsent bytes": (
        credit.unsent_client(STREAM),
        credit.unsent_server(STREAM),
    ),
    "SOCK_SEQPACKET ioctl(SIOCOUTQ) 0 unsent bytes": (
        credit.unsent_client(SEQPACKET),
        credit.unsent_server(SEQPACKET),
    ),
    "SOCK_STREAM leak accept queue": (ends.leak_client, ends.leak_server),
    "SOCK_STREAM MSG_ZEROCOPY leak MSG_ERRQUEUE": (credit.leak_client, credit.leak_server),
    "SOCK_STREAM MSG_ZEROCOPY leak completion skb": (dial_and_close, accept_until_closed),
    "SOCK_STREAM transport release use-after-free": (ends.unbound_client, None),
    "SOCK_STREAM retry failed connect()": (ends.retry_client, ends.retry_server),
    "SOCK_STREAM SO_LINGER null-ptr-deref": (ends.linger_client, accept_until_closed),
    "SOCK_STREAM SO_LINGER close() on unread": (ends.no_linger_client, accept_until("DONE")),
    "SOCK_STREAM transport change null-ptr-deref, lockdep warn": (
        ends.transport_client,
        ends.transport_server,
    ),
    "SOCK_STREAM ioctl(SIOCINQ) functionality": (
        credit.unread_client(STREAM),
        credit.unread_server(STREAM),
    ),
    "SOCK_SEQPACKET ioctl(SIOCINQ) functionality": (
        credit.unread_client(SEQPACKET),
        credit.unread_server(SEQPACKET),
    ),
    "SOCK_STREAM accept()ed socket custom setsockopt()": (dial_and_close, ends.options_server),
    "SOCK_STREAM virtio MSG_ZEROCOPY coalescence corruption": (
        credit.mangle_client,
        credit.mangle_server,
    ),
    "SOCK_STREAM TX credit bounds": (credit.bounds_client, credit.bounds_server),
    "SOCK_STREAM MSG_PEEK after partial recv": (
        data.peek_client(STREAM),
        data.peek_behind_server,
    ),
    "SOCK_STREAM small packets backpressure": (credit.small_client, credit.small_server),
}


def unknown(names):
    """Those of the tests that have no steps here."""
    return [name for name in names if name not in STEPS]


def half(role, names, skipped):
    """Go through the tests; (number of the one that failed, how), or (how many there are, "").

    `skipped` are numbers.
    """
    number = 0
    control = Control(dial(HOST, CONTROL, seconds=60))
    control.sock.settimeout(2 * SECONDS)
    try:
        for number, name in enumerate(names):
            wanted = number not in skipped
            control.say("NEXT" if wanted else "SKIP")
            heard = control.hear()
            if wanted and heard != "SKIP":
                same(heard, "NEXT")
                one(STEPS[name][role == "server"], control)
        control.say("COMPLETED")
        control.expect("COMPLETED")
        number = len(names)
        return number, ""
    except Exception as error:
        text = io.StringIO()
        sys.print_exception(error, text)
        return number, text.getvalue()
    finally:
        control.sock.close()


def one(steps, control):
    """One test; its sockets end with it."""
    try:
        if steps is not None:
            steps(control)
    finally:
        while opened:
            opened.pop().close()
