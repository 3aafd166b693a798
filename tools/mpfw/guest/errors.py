# SPDX-License-Identifier: MIT
"""What can go wrong with a guest, each kind a class of its own.

All are GuestError, and have the guest's last words in their message.
"""


class GuestError(Exception):
    """Something about a guest: `sentence` says what, `last_words` what the guest said last."""

    def __init__(self, sentence: str, last_words: str = ""):
        super().__init__(f"{sentence}\n{last_words}" if last_words else sentence)
        self.sentence = sentence
        self.last_words = last_words


class StartError(GuestError):
    """The guest cannot be started: no QEMU, no such image or script, no vsock device."""


class NotPossible(GuestError):
    """This guest cannot do that, such as a snapshot with vhost-user-vsock."""


class GuestTimeout(GuestError, TimeoutError):
    """What was waited for did not come in time."""


class GuestEnded(GuestError, ConnectionError):
    """The guest is off, or has crashed, while something was wanted of it."""


class RemoteError(GuestError):
    """Python code in the guest raised: the message is its traceback.

    `name` is the exception's class there, `errno` an OSError's number, `output` what the code had
    printed before.
    """

    def __init__(self, traceback: str, output: str = "", name: str = "", errno: int | None = None):
        super().__init__(traceback)
        self.last_words = output
        self.output = output
        self.name = name or traceback.strip().rpartition("\n")[2].partition(":")[0]
        self.errno = errno
