// SPDX-License-Identifier: MIT
// machine.disk: a block device in the flash chip below the firmware's own (QEMU's pflash unit 1),
// which keeps what it holds while the machine is off. Upstream's extended block protocol (docs:
// vfs.AbstractBlockDev). Commands are Intel's for flash (JESD68.01, command set 1), on a bus of
// eight bits. The chip is not trusted: every wait is bounded, and what was written is read back.
// Outside these functions it always shows its contents; a command makes it show its status.

#include <string.h>
#include "extmod/vfs.h"
#include "layout.h"
#include "py/mperrno.h"
#include "py/runtime.h"
#include "port/clock.h"
#include "port/modmachine.h"

#define BLOCK_SIZE  ((size_t)FLASH_BLOCK_SIZE) // both chips have the same
#define BOTH_CHIPS  (16 * 1024 * 1024) // QEMU's limit of its limit max-fw-size
#define TIMEOUT_US  (1000000)
#define ERASED      (0xff)
#define BUFFER_BITS (8) // largest write buffer that its length fits a byte

enum {
    COMMAND_PROGRAM = 0x40, // one byte
    COMMAND_ERASE = 0x20,
    COMMAND_CLEAR_STATUS = 0x50,
    COMMAND_READ_STATUS = 0x70,
    COMMAND_QUERY = 0x98,
    COMMAND_CONFIRM = 0xd0,
    COMMAND_WRITE_BUFFER = 0xe8,
    COMMAND_READ_ARRAY = 0xff,
};

enum {
    STATUS_READY = 1 << 7,
    STATUS_ERRORS = 1 << 5 | 1 << 4 | 1 << 3 | 1 << 1, // erase, program, voltage, locked
};

// The CFI table (JESD68.01, section 2.4), offsets on a bus of eight bits.
enum {
    CFI_COMMAND_AT = 0x55, // where the query command is written
    CFI_MAGIC = 0x10,
    CFI_COMMAND_SET = 0x13, // 2 bytes
    CFI_BUFFER_BITS = 0x2a, // 2 bytes: the write buffer's size as a power of two, 0 without one
    CFI_REGIONS = 0x2c,     // how many regions of blocks of one size
    CFI_BLOCKS = 0x2d,      // 2 bytes: blocks of the first region, less one
    CFI_BLOCK_SIZE = 0x2f,  // 2 bytes: in units of 256
};

static volatile uint8_t *disk; // NULL without the chip
static size_t disk_size;
static size_t buffer_size;

const mp_obj_base_t machine_disk_obj = { &machine_disk_type };

static size_t cfi16(volatile const uint8_t *table, size_t at) {
    return table[at] | table[at + 1] << 8;
}

// Takes the chip's last block's CFI table. False if it is none that this file can work with.
static bool take(volatile const uint8_t *table) {
    if (table[CFI_MAGIC] != 'Q' || table[CFI_MAGIC + 1] != 'R' || table[CFI_MAGIC + 2] != 'Y') {
        return false;
    }
    size_t size = (cfi16(table, CFI_BLOCKS) + 1) * BLOCK_SIZE;
    if (cfi16(table, CFI_COMMAND_SET) != 1 || table[CFI_REGIONS] != 1
        || cfi16(table, CFI_BLOCK_SIZE) * 256 != BLOCK_SIZE || size > BOTH_CHIPS - FLASH_SIZE) {
        return false;
    }
    disk_size = size;
    buffer_size = (size_t)1 << MIN(cfi16(table, CFI_BUFFER_BITS), BUFFER_BITS);
    return true;
}

// Where there is no chip there is nothing that a write could change: QEMU has no RAM or device
// between the local APIC and the flash.
void machine_disk_init(void) {
    volatile uint8_t *last_block = (volatile uint8_t *)(FLASH_BASE - BLOCK_SIZE);
    last_block[CFI_COMMAND_AT] = COMMAND_QUERY;
    if (take(last_block)) {
        disk = (volatile uint8_t *)(FLASH_BASE - disk_size);
    }
    last_block[0] = COMMAND_READ_ARRAY;
}

// Waits until the chip is ready for more. Its status, 0 if it does not become ready.
static uint8_t wait_ready(void) {
    uint64_t deadline = clock_us() + TIMEOUT_US;
    for (;;) {
        uint8_t status = *disk;
        if (status & STATUS_READY) {
            return status;
        }
        if (clock_us() > deadline) {
            return 0;
        }
    }
}

// Waits until a command has been carried out. 0 or a negative errno.
static int command_result(void) {
    *disk = COMMAND_READ_STATUS; // QEMU 9 and later show the contents after a command that failed
    uint8_t status = wait_ready();
    if (status & STATUS_ERRORS) {
        *disk = COMMAND_CLEAR_STATUS;
    }
    return status & STATUS_READY && !(status & STATUS_ERRORS) ? 0 : -MP_EIO;
}

static int erase_block(size_t at) {
    disk[at] = COMMAND_ERASE;
    disk[at] = COMMAND_CONFIRM;
    int result = command_result();
    *disk = COMMAND_READ_ARRAY;
    for (size_t i = 0; i < BLOCK_SIZE && result == 0; ++i) {
        result = disk[at + i] == ERASED ? 0 : -MP_EIO;
    }
    return result;
}

// Programs `size` bytes that lie within one write buffer.
static int program_buffer(size_t at, const uint8_t *from, size_t size) {
    if (size == 1) { // QEMU 9 and later refuse to do this with the buffer
        disk[at] = COMMAND_PROGRAM;
        disk[at] = *from;
        return command_result();
    }
    disk[at] = COMMAND_WRITE_BUFFER;
    if (wait_ready() == 0) {
        return -MP_EIO;
    }
    disk[at] = size - 1;
    for (size_t i = 0; i < size; ++i) {
        disk[at + i] = from[i];
    }
    disk[at] = COMMAND_CONFIRM;
    return command_result();
}

static int program(size_t at, const uint8_t *from, size_t size) {
    int result = 0;
    for (size_t done = 0, n; done < size && result == 0; done += n) {
        n = MIN(size - done, buffer_size - (at + done) % buffer_size);
        result = program_buffer(at + done, from + done, n);
    }
    *disk = COMMAND_READ_ARRAY;
    if (result == 0 && memcmp((const void *)(disk + at), from, size) != 0) {
        result = -MP_EIO;
    }
    return result;
}

// Whether the disk has `size` bytes at block and offset; *at is where they lie.
static bool locate(mp_obj_t block_in, mp_int_t offset, size_t size, size_t *at) {
    mp_int_t block = mp_obj_get_int(block_in);
    if (block < 0 || offset < 0 || (size_t)block >= disk_size / BLOCK_SIZE || (size_t)offset > disk_size) {
        return false;
    }
    *at = block * BLOCK_SIZE + offset;
    return *at <= disk_size && size <= disk_size - *at;
}

static mp_obj_t machine_disk_readblocks(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t bufinfo;
    size_t at;
    mp_get_buffer_raise(args[2], &bufinfo, MP_BUFFER_WRITE);
    if (!locate(args[1], n_args > 3 ? mp_obj_get_int(args[3]) : 0, bufinfo.len, &at)) {
        return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
    }
    memcpy(bufinfo.buf, (const void *)(disk + at), bufinfo.len);
    return MP_OBJ_NEW_SMALL_INT(0);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(machine_disk_readblocks_obj, 3, 4, machine_disk_readblocks);

// With an offset the place has been erased before; without one whole blocks are erased here.
static mp_obj_t machine_disk_writeblocks(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t bufinfo;
    size_t at;
    mp_get_buffer_raise(args[2], &bufinfo, MP_BUFFER_READ);
    if (!locate(args[1], n_args > 3 ? mp_obj_get_int(args[3]) : 0, bufinfo.len, &at)
        || (n_args == 3 && bufinfo.len % BLOCK_SIZE != 0)) {
        return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
    }
    int result = 0;
    if (n_args == 3) {
        for (size_t i = 0; i < bufinfo.len && result == 0; i += BLOCK_SIZE) {
            result = erase_block(at + i);
        }
    }
    if (result == 0) {
        result = program(at, bufinfo.buf, bufinfo.len);
    }
    return MP_OBJ_NEW_SMALL_INT(result);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(machine_disk_writeblocks_obj, 3, 4, machine_disk_writeblocks);

static mp_obj_t machine_disk_ioctl(mp_obj_t self_in, mp_obj_t op, mp_obj_t arg) {
    size_t at;
    switch (mp_obj_get_int(op)) {
        case MP_BLOCKDEV_IOCTL_INIT:
        case MP_BLOCKDEV_IOCTL_DEINIT:
        case MP_BLOCKDEV_IOCTL_SYNC: // a write is over when writeblocks returns
            return MP_OBJ_NEW_SMALL_INT(0);
        case MP_BLOCKDEV_IOCTL_BLOCK_COUNT:
            return MP_OBJ_NEW_SMALL_INT(disk_size / BLOCK_SIZE);
        case MP_BLOCKDEV_IOCTL_BLOCK_SIZE:
            return MP_OBJ_NEW_SMALL_INT(BLOCK_SIZE);
        case MP_BLOCKDEV_IOCTL_BLOCK_ERASE:
            return MP_OBJ_NEW_SMALL_INT(locate(arg, 0, BLOCK_SIZE, &at) ? erase_block(at) : -MP_EINVAL);
        default:
            return mp_const_none;
    }
}
static MP_DEFINE_CONST_FUN_OBJ_3(machine_disk_ioctl_obj, machine_disk_ioctl);

static const mp_rom_map_elem_t machine_disk_locals_dict_table[] = {
    { MP_ROM_QSTR(MP_QSTR_readblocks), MP_ROM_PTR(&machine_disk_readblocks_obj) },
    { MP_ROM_QSTR(MP_QSTR_writeblocks), MP_ROM_PTR(&machine_disk_writeblocks_obj) },
    { MP_ROM_QSTR(MP_QSTR_ioctl), MP_ROM_PTR(&machine_disk_ioctl_obj) },
};
static MP_DEFINE_CONST_DICT(machine_disk_locals_dict, machine_disk_locals_dict_table);

MP_DEFINE_CONST_OBJ_TYPE(
    machine_disk_type,
    MP_QSTR_Disk,
    MP_TYPE_FLAG_NONE,
    locals_dict, &machine_disk_locals_dict);

// machine.disk is there only if the chip is: py/objmodule.c asks this for names that the module,
// which lies in read-only memory, does not have.
void machine_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    (void)self_in;
    if (attr == MP_QSTR_disk && dest[0] == MP_OBJ_NULL && disk != NULL) {
        dest[0] = MP_OBJ_FROM_PTR(&machine_disk_obj);
    }
}
MP_REGISTER_MODULE_DELEGATION(mp_module_machine, machine_attr);
