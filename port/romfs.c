// SPDX-License-Identifier: MIT
// vfs.rom_ioctl: the ROMFS image in the flash's app volume, which the IPL has found and checked.
// py/runtime.c mounts it at /rom.

#include "extmod/vfs.h"
#include "py/mperrno.h"
#include "py/runtime.h"
#include "port/hob.h"

mp_obj_t mp_vfs_rom_ioctl(size_t n_args, const mp_obj_t *args) {
    const struct platform *platform = hob_platform();
    switch (mp_obj_get_int(args[0])) {
        case MP_VFS_ROM_IOCTL_GET_NUMBER_OF_SEGMENTS:
            return MP_OBJ_NEW_SMALL_INT(platform->app_base != 0);
        case MP_VFS_ROM_IOCTL_GET_SEGMENT:
            if (n_args > 1 && mp_obj_get_int(args[1]) == 0 && platform->app_base != 0) {
                return mp_obj_new_memoryview('B', platform->app_size, (void *)platform->app_base);
            }
            return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
        default:
            return MP_OBJ_NEW_SMALL_INT(-MP_EROFS); // the image builder writes it, not the guest
    }
}
