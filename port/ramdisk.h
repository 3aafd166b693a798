// SPDX-License-Identifier: MIT
// The RAM behind the file system at /.
#ifndef PORT_RAMDISK_H
#define PORT_RAMDISK_H

void ramdisk_init(void);

#endif // PORT_RAMDISK_H
