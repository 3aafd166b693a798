// SPDX-License-Identifier: MIT
// What help() prints.

const char x86_64_help_text[] =
    "MicroPython on bare x86_64: no BIOS, no kernel.\n"
    "\n"
    "  import pci; pci.devices()   the machine's devices, as lspci shows them\n"
    "  import socket               AF_VSOCK sockets as in CPython\n"
    "  import machine              mem8 .. mem64, port8 .. port32, idle, reset, poweroff\n"
    "  help('modules')             all modules\n"
    "\n"
    "  CTRL-A  raw REPL            CTRL-C  interrupt the running program\n"
    "  CTRL-B  this REPL           CTRL-D  soft reset\n"
    "  CTRL-E  paste mode\n";
