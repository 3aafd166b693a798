// SPDX-License-Identifier: MIT
// machine.ramdisk: a block device in RAM outside the GC heap, so that files survive a soft reset
// as they do on ports with flash. Upstream's extended block protocol (docs: vfs.AbstractBlockDev).

#include <string.h>
#include "extmod/vfs_fat.h"
#include "lib/oofatfs/ff.h"
#include "py/mperrno.h"
#include "py/runtime.h"
#include "port/clock.h"
#include "port/memory.h"
#include "port/modmachine.h"
#include "port/ramdisk.h"
#include "shared/timeutils/timeutils.h"

#define BLOCK_SIZE (512)
#define MIN_SIZE   (512 * 1024)
#define MAX_SIZE   (16 * 1024 * 1024)

static uint8_t *disk;
static size_t disk_size;

const mp_obj_base_t machine_ramdisk_obj = { &machine_ramdisk_type };

// A sixteenth of the RAM, within bounds.
void ramdisk_init(void) {
    disk_size = MIN(MAX(memory_total() / 16 & ~(size_t)(BLOCK_SIZE - 1), MIN_SIZE), MAX_SIZE);
    disk = memory_alloc(disk_size, PAGE_SIZE, MEMORY_RAMDISK);
    if (disk == NULL) {
        disk_size = 0;
    }
}

// The place of size bytes at block and offset, or NULL if the disk has no such place.
static uint8_t *locate(mp_obj_t block_in, mp_int_t offset, size_t size) {
    mp_int_t block = mp_obj_get_int(block_in);
    if (block < 0 || offset < 0 || (size_t)block >= disk_size / BLOCK_SIZE) {
        return NULL;
    }
    size_t at = block * BLOCK_SIZE + offset;
    return at > disk_size || size > disk_size - at ? NULL : disk + at;
}

static mp_obj_t ramdisk_readblocks(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t bufinfo;
    mp_get_buffer_raise(args[2], &bufinfo, MP_BUFFER_WRITE);
    const uint8_t *from = locate(args[1], n_args > 3 ? mp_obj_get_int(args[3]) : 0, bufinfo.len);
    if (from == NULL) {
        return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
    }
    memcpy(bufinfo.buf, from, bufinfo.len);
    return MP_OBJ_NEW_SMALL_INT(0);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(ramdisk_readblocks_obj, 3, 4, ramdisk_readblocks);

static mp_obj_t ramdisk_writeblocks(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t bufinfo;
    mp_get_buffer_raise(args[2], &bufinfo, MP_BUFFER_READ);
    uint8_t *to = locate(args[1], n_args > 3 ? mp_obj_get_int(args[3]) : 0, bufinfo.len);
    if (to == NULL) {
        return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
    }
    memcpy(to, bufinfo.buf, bufinfo.len);
    return MP_OBJ_NEW_SMALL_INT(0);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(ramdisk_writeblocks_obj, 3, 4, ramdisk_writeblocks);

static mp_obj_t ramdisk_ioctl(mp_obj_t self_in, mp_obj_t op, mp_obj_t arg) {
    (void)self_in;
    (void)arg;
    switch (mp_obj_get_int(op)) {
        case MP_BLOCKDEV_IOCTL_INIT:
        case MP_BLOCKDEV_IOCTL_DEINIT:
        case MP_BLOCKDEV_IOCTL_SYNC:
        case MP_BLOCKDEV_IOCTL_BLOCK_ERASE: // RAM needs no erasing
            return MP_OBJ_NEW_SMALL_INT(0);
        case MP_BLOCKDEV_IOCTL_BLOCK_COUNT:
            return MP_OBJ_NEW_SMALL_INT(disk_size / BLOCK_SIZE);
        case MP_BLOCKDEV_IOCTL_BLOCK_SIZE:
            return MP_OBJ_NEW_SMALL_INT(BLOCK_SIZE);
        default:
            return mp_const_none;
    }
}
static MP_DEFINE_CONST_FUN_OBJ_3(ramdisk_ioctl_obj, ramdisk_ioctl);

static const mp_rom_map_elem_t ramdisk_locals_dict_table[] = {
    { MP_ROM_QSTR(MP_QSTR_readblocks), MP_ROM_PTR(&ramdisk_readblocks_obj) },
    { MP_ROM_QSTR(MP_QSTR_writeblocks), MP_ROM_PTR(&ramdisk_writeblocks_obj) },
    { MP_ROM_QSTR(MP_QSTR_ioctl), MP_ROM_PTR(&ramdisk_ioctl_obj) },
};
static MP_DEFINE_CONST_DICT(ramdisk_locals_dict, ramdisk_locals_dict_table);

MP_DEFINE_CONST_OBJ_TYPE(
    machine_ramdisk_type,
    MP_QSTR_RAMDisk,
    MP_TYPE_FLAG_NONE,
    locals_dict, &ramdisk_locals_dict);

// The linker puts this in front of f_lseek (--wrap): extmod/vfs_fat_file.c ignores its result, so
// that a seek in a closed file would pass for done.
FRESULT __real_f_lseek(FIL *file, FSIZE_t offset);

FRESULT __wrap_f_lseek(FIL *file, FSIZE_t offset) {
    FRESULT result = __real_f_lseek(file, offset);
    if (result != FR_OK) {
        mp_raise_OSError(fresult_to_errno_table[result]);
    }
    return result;
}

// The date that FAT gives a file it writes: years from 1980, seconds by twos. While nothing is mounted
// it is asked for the serial number of a volume that is made, at each boot: not worth a look at the CMOS clock.
DWORD get_fattime(void) {
    if (MP_STATE_VM(vfs_mount_table) == NULL) {
        return 0;
    }
    timeutils_struct_time_t tm;
    timeutils_seconds_since_epoch_to_struct_time(clock_epoch_us() / 1000000, &tm);
    return (DWORD)(tm.tm_year - 1980) << 25 | tm.tm_mon << 21 | tm.tm_mday << 16
        | tm.tm_hour << 11 | tm.tm_min << 5 | tm.tm_sec / 2;
}
