# SPDX-License-Identifier: MIT
"""CPython's `selectors`: what of many sockets is ready, by `select` or by `poll`."""

import select
from collections import namedtuple

EVENT_READ = 1
EVENT_WRITE = 2

SelectorKey = namedtuple("SelectorKey", ("fileobj", "fd", "events", "data"))


def _number(fileobj):
    """The descriptor of a file object or a number. Raises ValueError."""
    try:
        number = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
    except (AttributeError, TypeError, ValueError):
        raise ValueError("Invalid file object: %r" % (fileobj,))
    if number < 0:
        raise ValueError("Invalid file descriptor: %d" % number)
    return number


class _Map:
    """What get_map returns: a selector's keys by their file objects."""

    def __init__(self, selector):
        self._selector = selector

    def __len__(self):
        return len(self._selector._keys)

    def __getitem__(self, fileobj):
        number = self._selector._find(fileobj)
        if number not in self._selector._keys:
            raise KeyError("%r is not registered" % (fileobj,))
        return self._selector._keys[number]

    def __contains__(self, fileobj):
        return self.get(fileobj) is not None

    def __iter__(self):
        return iter(self._selector._keys)

    def get(self, fileobj, default=None):
        """The key of a file object."""
        try:
            return self[fileobj]
        except (KeyError, ValueError):
            return default

    def keys(self):
        """The descriptors."""
        return self._selector._keys.keys()

    def values(self):
        """The keys."""
        return self._selector._keys.values()

    def items(self):
        """Both."""
        return self._selector._keys.items()


class BaseSelector:
    """What all have in common. One waits in `select`, which each kind has its own of."""

    def __init__(self):
        self._keys = {}
        self._map = _Map(self)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _find(self, fileobj):
        """The descriptor of what was registered, also if it is closed by now."""
        try:
            return _number(fileobj)
        except ValueError:
            for key in self._keys.values():
                if key.fileobj is fileobj:
                    return key.fd
            raise

    def register(self, fileobj, events, data=None):
        """Watch for EVENT_* `events`; its key. Raises ValueError, KeyError if it is watched."""
        if not events or events & ~(EVENT_READ | EVENT_WRITE):
            raise ValueError("Invalid events: %r" % (events,))
        key = SelectorKey(fileobj, self._find(fileobj), events, data)
        if key.fd in self._keys:
            raise KeyError("%r (FD %d) is already registered" % (fileobj, key.fd))
        self._watch(key)
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj):
        """Forget it; its key. Raises KeyError."""
        number = self._find(fileobj)
        if number not in self._keys:
            raise KeyError("%r is not registered" % (fileobj,))
        key = self._keys.pop(number)
        self._forget(key)
        return key

    def modify(self, fileobj, events, data=None):
        """Watch for other events, with other data; the new key."""
        self.unregister(fileobj)
        return self.register(fileobj, events, data)

    def close(self):
        """Forget everything."""
        self._keys.clear()
        self._map = None

    def get_map(self):
        """A mapping of file objects to their keys; None once it is closed."""
        return self._map

    def get_key(self, fileobj):
        """The key of a file object. Raises KeyError, or RuntimeError once it is closed."""
        if self._map is None:
            raise RuntimeError("Selector is closed")
        return self._map[fileobj]

    def _watch(self, key):
        """A key is new."""

    def _forget(self, key):
        """A key goes."""


class SelectSelector(BaseSelector):
    """By select.select."""

    def select(self, timeout=None):
        """[(key, its events)] of what is ready, after `timeout` seconds at most."""
        keys = list(self._keys.values())
        readers = [key.fileobj for key in keys if key.events & EVENT_READ]
        writers = [key.fileobj for key in keys if key.events & EVENT_WRITE]
        wait = None if timeout is None else max(timeout, 0)
        readable, writable, _ = select.select(readers, writers, [], wait)
        read = set([id(each) for each in readable])
        write = set([id(each) for each in writable])
        found = []
        for key in keys:
            events = EVENT_READ if id(key.fileobj) in read else 0
            events |= EVENT_WRITE if id(key.fileobj) in write else 0
            if events & key.events:
                found.append((key, events & key.events))
        return found


class PollSelector(BaseSelector):
    """By select.poll."""

    def __init__(self):
        super().__init__()
        self._poll = select.poll()

    def _watch(self, key):
        mask = select.POLLIN if key.events & EVENT_READ else 0
        mask |= select.POLLOUT if key.events & EVENT_WRITE else 0
        self._poll.register(key.fileobj, mask)

    def _forget(self, key):
        self._poll.unregister(key.fileobj)

    def select(self, timeout=None):
        """[(key, its events)] of what is ready, after `timeout` seconds at most."""
        wait = None if timeout is None else max(timeout, 0) * 1000
        found = []
        for fileobj, bits in self._poll.poll(wait):
            key = self._map[fileobj]
            if bits & select.POLLNVAL:
                continue  # closed, and epoll, which is CPython's default, would have forgotten it
            events = EVENT_WRITE if bits & ~select.POLLIN else 0
            events |= EVENT_READ if bits & ~select.POLLOUT else 0
            if events & key.events:
                found.append((key, events & key.events))
        return found


DefaultSelector = PollSelector
