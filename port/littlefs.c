// SPDX-License-Identifier: MIT
// Upstream's VfsLfs2, and what must know its inside: writing what files that are open hold back.

#include "extmod/vfs_lfs.c"
#include "port/littlefs.h"

// 0 or a negative errno, also where a block device in Python raises an exception.
static int sync_file(lfs2_t *lfs, lfs2_file_t *file) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        int result = lfs2_file_sync(lfs, file);
        nlr_pop();
        return result;
    }
    return -MP_EIO;
}

static int sync_files(lfs2_t *lfs) {
    int result = 0;
    for (struct lfs2_mlist *open = lfs->mlist; open != NULL; open = open->next) {
        if (open->type == LFS2_TYPE_REG) {
            int error = sync_file(lfs, (lfs2_file_t *)open);
            result = result != 0 ? result : error;
        }
    }
    return result;
}

int littlefs_sync(void) {
    int result = 0;
    for (mp_vfs_mount_t *vfs = MP_STATE_VM(vfs_mount_table); vfs != NULL; vfs = vfs->next) {
        if (mp_obj_is_type(vfs->obj, &mp_type_vfs_lfs2)) {
            int error = sync_files(&((mp_obj_vfs_lfs2_t *)MP_OBJ_TO_PTR(vfs->obj))->lfs);
            result = result != 0 ? result : error;
        }
    }
    return result;
}
