// SPDX-License-Identifier: MIT
// The file system of machine.disk.
#ifndef PORT_LITTLEFS_H
#define PORT_LITTLEFS_H

int littlefs_sync(void); // has every open file's data written; 0 or the first negative errno

#endif // PORT_LITTLEFS_H
