// SPDX-License-Identifier: MIT
// vfs.rom_ioctl: the ROMFS image in the flash's app volume, which the IPL has found and checked.
// py/runtime.c mounts it at /rom.

#include "extmod/vfs.h"
#include "layout.h"
#include "py/mperrno.h"
#include "py/objstr.h"
#include "py/runtime.h"
#include "port/hob.h"

// `mpremote romfs deploy` shows this, but not what is returned to it: it would say that all went well.
static NORETURN void refuse(void) {
    static const MP_DEFINE_STR_OBJ(way, "romfs deploy cannot write to this flash: `mpfw image build --app DIR` puts DIR "
                                        "at /rom, `mpfw run --disk FILE` keeps what is copied to /disk");
    const mp_obj_t args[] = { MP_OBJ_NEW_SMALL_INT(MP_EROFS), MP_OBJ_FROM_PTR(&way) };
    nlr_raise(mp_obj_exception_make_new(&mp_type_OSError, MP_ARRAY_SIZE(args), 0, args));
}

mp_obj_t mp_vfs_rom_ioctl(size_t n_args, const mp_obj_t *args) {
    const struct platform *platform = hob_platform();
    switch (mp_obj_get_int(args[0])) {
        case MP_VFS_ROM_IOCTL_GET_NUMBER_OF_SEGMENTS:
            return MP_OBJ_NEW_SMALL_INT(platform->app_base != 0);
        case MP_VFS_ROM_IOCTL_GET_SEGMENT:
            if (n_args > 1 && mp_obj_get_int(args[1]) == 0 && platform->app_base != 0) {
                // To the volume's end: mpremote holds what it is to write against that.
                size_t size = APP_VOLUME_BASE + APP_VOLUME_SIZE - platform->app_base;
                return mp_obj_new_memoryview('B', size, (void *)platform->app_base);
            }
            refuse();
        case MP_VFS_ROM_IOCTL_WRITE_PREPARE:
        case MP_VFS_ROM_IOCTL_WRITE:
        case MP_VFS_ROM_IOCTL_WRITE_COMPLETE:
            refuse();
        default:
            return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
    }
}
