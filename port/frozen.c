// SPDX-License-Identifier: MIT
// Finds frozen modules by a table of their names' lengths. Upstream's function, in whose place the
// linker puts this one (--wrap), measures the names one by one, some thrice for each import, which
// was a twentieth of what a start of the built-in echo takes.

#include <string.h>
#include "py/emitglue.h"
#include "py/frozenmod.h"

#define MOST (256) // modules that the table has room for; with more it is upstream's function that looks

extern const char mp_frozen_names[];
extern const mp_frozen_module_t *const mp_frozen_mpy_content[];
extern const uint32_t mp_frozen_str_sizes[];

extern mp_import_stat_t __real_mp_find_frozen_module(const char *str, int *frozen_type, void **data);

static struct {
    const char *name;
    size_t length;
} modules[MOST];
static size_t count; // 0: the table is not made; MOST + 1: there are too many

static void make_table(void) {
    for (const char *name = mp_frozen_names; *name != 0; name += modules[count++].length + 1) {
        if (count == MOST || mp_frozen_str_sizes[0] != 0) {
            count = MOST + 1;
            return;
        }
        modules[count].name = name;
        modules[count].length = strlen(name);
    }
}

mp_import_stat_t __wrap_mp_find_frozen_module(const char *str, int *frozen_type, void **data) {
    size_t length = strlen(str);
    if (count == 0) {
        make_table();
    }
    if (count > MOST || length == 0) {
        return __real_mp_find_frozen_module(str, frozen_type, data);
    }
    if (frozen_type != NULL) {
        *frozen_type = MP_FROZEN_NONE;
    }
    for (size_t i = 0; i < count; ++i) {
        const char *name = modules[i].name;
        // Names begin alike, but few end so.
        if (modules[i].length < length || name[length - 1] != str[length - 1] || memcmp(name, str, length) != 0) {
            continue;
        }
        if (modules[i].length == length) {
            if (frozen_type != NULL) {
                *frozen_type = MP_FROZEN_MPY;
                *data = (void *)mp_frozen_mpy_content[i];
            }
            return MP_IMPORT_STAT_FILE;
        }
        if (name[length] == '/') {
            return MP_IMPORT_STAT_DIR;
        }
    }
    return MP_IMPORT_STAT_NO_EXIST;
}
