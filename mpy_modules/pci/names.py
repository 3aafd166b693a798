# SPDX-License-Identifier: MIT
"""Names of classes, vendors and a few devices, for people; nothing decides by them."""

_VENDORS = {
    0x1000: "Broadcom / LSI",
    0x1013: "Cirrus Logic",
    0x10EC: "Realtek",
    0x104C: "Texas Instruments",
    0x1234: "QEMU",
    0x15AD: "VMware",
    0x1AF4: "Red Hat",
    0x1B36: "Red Hat",
    0x8086: "Intel",
}

_CLASSES = {
    0x0000: "Unclassified device",
    0x00FF: "Unclassified device",
    0x0100: "SCSI storage controller",
    0x0101: "IDE interface",
    0x0106: "SATA controller",
    0x0108: "Non-Volatile memory controller",
    0x0180: "Mass storage controller",
    0x0200: "Ethernet controller",
    0x0280: "Network controller",
    0x0300: "VGA compatible controller",
    0x0380: "Display controller",
    0x0401: "Multimedia audio controller",
    0x0403: "Audio device",
    0x0500: "RAM memory",
    0x0580: "Memory controller",
    0x0600: "Host bridge",
    0x0601: "ISA bridge",
    0x0604: "PCI bridge",
    0x0680: "Bridge",
    0x0700: "Serial controller",
    0x0780: "Communication controller",
    0x0805: "SD Host controller",
    0x0880: "System peripheral",
    0x0900: "Keyboard controller",
    0x0980: "Input device controller",
    0x0C03: "USB controller",
    0x0C05: "SMBus",
    0x1000: "Encryption controller",
    0x1180: "Signal processing controller",
}

_CAPABILITIES = {
    0x01: "Power management",
    0x04: "Slot identification",
    0x05: "MSI",
    0x07: "PCI-X",
    0x09: "Vendor specific",
    0x0C: "Hot-plug controller",
    0x0D: "Subsystem id",
    0x10: "PCI Express",
    0x11: "MSI-X",
    0x12: "SATA",
    0x13: "Advanced features",
}

_VIRTIO = {
    1: "network device",
    2: "block device",
    3: "console",
    4: "RNG",
    5: "memory balloon",
    8: "SCSI",
    9: "filesystem",
    16: "GPU",
    18: "input",
    19: "socket",
    20: "crypto",
    24: "memory",
    25: "sound",
    26: "file system",
}

_DEVICES = {
    0x11111234: "VGA",
    0x12378086: "82441FX host bridge",
    0x29C08086: "82G33 host bridge",
    0x29188086: "ICH9 LPC interface",
    0x29228086: "ICH9 SATA controller",
    0x29308086: "ICH9 SMBus controller",
    0x29348086: "ICH9 UHCI",
    0x293A8086: "ICH9 EHCI",
    0x70008086: "PIIX3 ISA bridge",
    0x70108086: "PIIX3 IDE controller",
    0x71138086: "PIIX4 ACPI",
    0x100E8086: "82540EM network adapter",
    0x10D38086: "82574L network adapter",
    0x00011B36: "PCI-PCI bridge",
    0x00051B36: "PCI test device",
    0x00091B36: "PCI expander bridge",
    0x000B1B36: "PCIe expander bridge",
    0x000C1B36: "PCIe root port",
    0x000D1B36: "XHCI host controller",
    0x000E1B36: "PCIe-PCI bridge",
    0x00101B36: "NVMe controller",
    0x8232104C: "XIO3130 switch, upstream",
    0x8233104C: "XIO3130 switch, downstream",
    0x11101AF4: "inter-VM shared memory",
}


def describe(function):
    """Class, vendor and device in words, for instance "VGA compatible controller: QEMU VGA"."""
    kind = function.class_code >> 8
    vendor = _VENDORS.get(function.vendor, "vendor %04x" % function.vendor)
    return "%s: %s %s" % (_CLASSES.get(kind, "Class %04x" % kind), vendor, _device(function))


def capability(number):
    """Name of a capability by its id."""
    return _CAPABILITIES.get(number, "Capability %02x" % number)


def _device(function):
    name = _DEVICES.get(function.device << 16 | function.vendor)
    if name is None and function.vendor == 0x1AF4 and 0x1000 <= function.device < 0x1080:
        transitional = function.device < 0x1040
        number = function.subsystem[1] if transitional else function.device - 0x1040
        name = "Virtio " + _VIRTIO.get(number, "device %d" % number)
    return name or "device"
