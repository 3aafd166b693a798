# SPDX-License-Identifier: MIT
"""What a device is told: options, `--vm` and the configuration file of vhost-device-vsock."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

GUEST_CID = 3  # as there, if nobody says
TX_BUFFER_SIZE = 256 << 10  # bytes; Linux's window. There it is 64 KiB
QUEUE_SIZE = 1024  # entries
GROUP = "default"
MODE = 0o600
_KEYS = (
    "guest-cid",
    "socket",
    "uds-path",
    "forward-cid",
    "forward-listen",
    "tx-buffer-size",
    "queue-size",
    "groups",
    "socket-mode",
    "datagrams",
    "carrier",
)
VHOST_USER, VFIO_USER, PCI_PROXY = "vhost-user", "vfio-user", "pci-proxy"
CARRIERS = (VHOST_USER, VFIO_USER, PCI_PROXY)
_SWITCHES = {"true": True, "false": False}
_SAME = {each: each for each in CARRIERS}
_LAST_CID = 0xFFFFFFFE
_LAST_PORT = 0xFFFFFFFE
_MOST_ENTRIES = 32768  # of a split virtqueue (virtio 1.2, 2.7)
_LEAST_BUFFER, _MOST_BUFFER = 4096, 0x7FFFFFFF  # bytes


class SettingsError(Exception):
    """Settings that cannot be: one sentence, with the place."""


@dataclass(frozen=True)
class Settings:
    """One guest's device."""

    guest_cid: int
    socket: str
    uds_path: str | None = None
    forward_cid: int | None = None
    forward_listen: tuple[int, ...] = ()
    tx_buffer_size: int = TX_BUFFER_SIZE  # bytes of a connection that the host may leave unread
    queue_size: int = QUEUE_SIZE  # entries that a queue may have
    groups: tuple[str, ...] = (GROUP,)
    mode: int = MODE  # permissions of the sockets
    datagrams: bool = False  # are offered
    carrier: str = VHOST_USER  # what QEMU speaks at `socket`


def from_mapping(given: Mapping[str, Any], where: str) -> Settings:
    """Settings by their names, with - or _; values may be text. `where` begins a SettingsError."""
    values = {}
    for name, value in given.items():
        key = str(name).replace("_", "-")
        if key not in _KEYS:
            raise SettingsError(f"{where}: no option {name!r}: there are {', '.join(_KEYS)}")
        if value is not None:
            values[key] = value
    if "socket" not in values:
        raise SettingsError(f"{where}: socket is missing: the path where QEMU finds the device")
    if ("uds-path" in values) == ("forward-cid" in values):
        raise SettingsError(f"{where}: either uds-path or forward-cid, one of the two")
    if "forward-listen" in values and "forward-cid" not in values:
        raise SettingsError(f"{where}: forward-listen goes with forward-cid")
    datagrams = bool(_one_of(values.get("datagrams", False), where, "datagrams", _SWITCHES))
    if datagrams and "forward-cid" in values:
        raise SettingsError(f"{where}: datagrams go with uds-path: the host's AF_VSOCK has none")
    number = _Numbers(values, where)
    uds = values.get("uds-path")
    forward = "forward-cid" in values
    return Settings(
        guest_cid=number("guest-cid", GUEST_CID, 3, _LAST_CID),
        socket=str(values["socket"]),
        uds_path=None if uds is None else str(uds),
        forward_cid=number("forward-cid", 0, 0, _LAST_CID) if forward else None,
        forward_listen=tuple(
            _number(part, where, "forward-listen", 0, _LAST_PORT)
            for part in _parts(values.get("forward-listen", ""))
        ),
        tx_buffer_size=number("tx-buffer-size", TX_BUFFER_SIZE, _LEAST_BUFFER, _MOST_BUFFER),
        queue_size=number("queue-size", QUEUE_SIZE, 2, _MOST_ENTRIES),
        groups=tuple(_parts(values.get("groups", GROUP))),
        mode=_mode(values.get("socket-mode"), where),
        datagrams=datagrams,
        carrier=_one_of(values.get("carrier", VHOST_USER), where, "carrier", _SAME),
    )


def from_vm(text: str) -> Settings:
    """Settings from `--vm key=value,...`. Raises SettingsError."""
    given: dict[str, str] = {}
    for part in text.strip().split(","):
        key, equals, value = part.partition("=")
        if not equals:
            raise SettingsError(f"--vm {text}: {part!r} is no key=value")
        if key in given:
            raise SettingsError(f"--vm {text}: {key} is there twice")
        given[key] = value
    return from_mapping(given, f"--vm {text}")


def from_file(path: Path) -> list[Settings]:
    """Settings from a YAML file: `vms`, a list of mappings. Raises SettingsError."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"{path}: {why}") from None
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        found = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise SettingsError(f"{place}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: {error}") from None
    if not isinstance(found, dict) or list(found) != ["vms"]:
        raise SettingsError(f"{path}: the file is to have one key, vms, a list of devices")
    devices = found["vms"]
    if not isinstance(devices, list) or not devices:
        raise SettingsError(f"{path}:{_line(root, 0)}: vms is to be a list of devices")
    settings = []
    for number, each in enumerate(devices):
        where = f"{path}:{_line(root, number)}"
        if not isinstance(each, dict):
            raise SettingsError(f"{where}: a device is a mapping, such as `- guest_cid: 3`")
        settings.append(from_mapping(each, where))
    return settings


def checked(several: list[Settings]) -> list[Settings]:
    """Settings of one process's devices, which must not be in each other's way."""
    seen: dict[str, int] = {}
    for each in several:
        names = [f"guest-cid {each.guest_cid}", f"socket {each.socket}"]
        if each.uds_path is not None:
            names.append(f"socket {each.uds_path}")
        for name in names:
            if name in seen:
                raise SettingsError(f"{name} is given twice")
            seen[name] = 1
    return several


class _Numbers:
    """Numbers of a mapping, within bounds."""

    def __init__(self, values: Mapping[str, Any], where: str):
        self._values = values
        self._where = where

    def __call__(self, key: str, default: int, least: int, most: int) -> int:
        return _number(self._values.get(key, default), self._where, key, least, most)


def _number(value: Any, where: str, key: str, least: int, most: int) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]+", text):
        raise SettingsError(f"{where}: {key} is {value!r}, which is no number")
    if not least <= int(text) <= most:
        raise SettingsError(f"{where}: {key} is {text}: from {least} to {most} it may be")
    return int(text)


def _one_of(value: Any, where: str, key: str, known: Mapping[str, Any]) -> Any:
    """What the word `value` stands for."""
    text = str(value).strip().lower()
    if text not in known:
        raise SettingsError(f"{where}: {key} is {value!r}: {' or '.join(known)} it may be")
    return known[text]


def _parts(value: Any) -> list[str]:
    return [part for part in str(value).strip().split("+") if part]


def _mode(value: Any, where: str) -> int:
    if value is None:
        return MODE
    text = f"{value:o}" if isinstance(value, int) else str(value)
    if not re.fullmatch(r"(0o?)?[0-7]{3}", text):
        raise SettingsError(f"{where}: socket-mode is {text}: three octal digits, such as 600")
    return int(text, 8)


def _line(root: Any, number: int) -> int:
    """The line where device `number` stands in the file."""
    node = root.value[0][1]
    if isinstance(node, yaml.SequenceNode) and number < len(node.value):
        node = node.value[number]
    line: int = node.start_mark.line
    return line + 1
