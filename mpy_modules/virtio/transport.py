# SPDX-License-Identifier: MIT
"""How a virtio device is reached: what its registers do, wherever they are (virtio 1.2, 4).

`Transport` is the interface; each bus has one subclass in a module of its own, such as pci.py. The
handshake (device.py) and the drivers know nothing else. A transport carries values and checks what
it needs to reach the registers; what the values mean is not its business.
"""

from .memory import Memory


class Transport:
    """One device. Values that it reads are the device's word, unchecked.

    Life: `open()`, then the other methods, then `close()`; it may be opened again after that.
    `repr()` names the device for messages.
    """

    config_size = 0  # bytes of device configuration; known once it is open
    notify_bytes = 2  # width of the write that notifies a queue: 2 or 4
    _memory = None  # made when first asked for

    @property
    def memory(self):
        """The Memory of this device; a bus on which devices are found anew has one for each."""
        if self._memory is None:
            self._memory = Memory()
        return self._memory

    def taken(self):
        """True if a driver has the device: `open()` would take it away."""
        return False

    def open(self):
        """Find the registers and let the device reach memory. Raises NotSupported."""
        raise NotImplementedError

    def close(self):
        """Take the device off the bus, as far as the bus can. Raises nothing."""
        raise NotImplementedError

    def status(self):
        """The device status byte (2.1)."""
        raise NotImplementedError

    def set_status(self, status):
        """Write the device status byte; 0 starts a reset."""
        raise NotImplementedError

    def features(self):
        """The features that the device offers, 64 bits."""
        raise NotImplementedError

    def set_features(self, features):
        """The features that the driver takes."""
        raise NotImplementedError

    def generation(self):
        """A number that changes when the configuration did (2.5.1)."""
        raise NotImplementedError

    def config32(self, offset):
        """The aligned 32-bit word of device configuration at `offset`, within `config_size`."""
        raise NotImplementedError

    def queue_size(self, index):
        """Entries that queue `index` has at most; 0: there is no such queue."""
        raise NotImplementedError

    def notify_address(self, index):
        """The address that notifies queue `index`. Raises NotSupported."""
        raise NotImplementedError

    def set_queue(self, index, size, desc, avail, used):
        """Tell where a queue's three parts are, and its size."""
        raise NotImplementedError

    def route_queue(self, index):
        """Have a queue interrupt; the machine.Vector, or None where it must be polled.

        Raises NotSupported if the device has no room for that.
        """
        raise NotImplementedError

    def route_config(self):
        """The same for changes of the configuration."""
        raise NotImplementedError

    def enable_queue(self, index):
        """Start a queue."""
        raise NotImplementedError
