// SPDX-License-Identifier: MIT
// The builtin print(), which takes flush= and file=None too, as in CPython: print(text, flush=True) is
// how programs write that somebody waits for. Upstream's has neither; mpconfigport.h makes it a weak
// symbol.

#include "py/builtin.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "port/stdstreams.h"

enum {
    ARG_SEP,
    ARG_END,
    ARG_FILE,
    ARG_FLUSH,
    N_ARGS,
};

typedef struct _text_t {
    const char *data;
    size_t size;
} text_t;

static text_t text_or(mp_obj_t given, const char *otherwise) {
    text_t text = { otherwise, 1 };
    if (given != mp_const_none) {
        text.data = mp_obj_str_get_data(given, &text.size);
    }
    return text;
}

static mp_obj_t port_print(size_t n_values, const mp_obj_t *values, mp_map_t *keywords) {
    static const mp_arg_t allowed[] = {
        [ARG_SEP] = { MP_QSTR_sep, MP_ARG_KW_ONLY | MP_ARG_OBJ, { .u_rom_obj = MP_ROM_NONE } },
        [ARG_END] = { MP_QSTR_end, MP_ARG_KW_ONLY | MP_ARG_OBJ, { .u_rom_obj = MP_ROM_NONE } },
        [ARG_FILE] = { MP_QSTR_file, MP_ARG_KW_ONLY | MP_ARG_OBJ, { .u_rom_obj = MP_ROM_NONE } },
        [ARG_FLUSH] = { MP_QSTR_flush, MP_ARG_KW_ONLY | MP_ARG_OBJ, { .u_rom_obj = MP_ROM_FALSE } },
    };
    mp_arg_val_t args[N_ARGS];
    mp_arg_parse_all(0, NULL, keywords, N_ARGS, allowed, args);
    text_t sep = text_or(args[ARG_SEP].u_obj, " ");
    text_t end = text_or(args[ARG_END].u_obj, "\n");
    mp_obj_t file = args[ARG_FILE].u_obj;
    if (file == mp_const_none) {
        file = MP_OBJ_FROM_PTR(&mp_sys_stdout_obj);
    }
    mp_get_stream_raise(file, MP_STREAM_OP_WRITE);
    mp_print_t print = { MP_OBJ_TO_PTR(file), mp_stream_write_adaptor };
    for (size_t i = 0; i < n_values; ++i) {
        if (i > 0) {
            mp_print_strn(&print, sep.data, sep.size, 0, 0, 0);
        }
        mp_obj_print_helper(&print, values[i], PRINT_STR);
    }
    mp_print_strn(&print, end.data, end.size, 0, 0, 0);
    if (mp_obj_is_true(args[ARG_FLUSH].u_obj)) {
        mp_obj_t flush[2];
        mp_load_method(file, MP_QSTR_flush, flush);
        mp_call_method_n_kw(0, 0, flush);
    }
    return mp_const_none;
}

// Under upstream's name, but not weak as that is.
extern const mp_obj_fun_builtin_var_t port_print_obj __asm__("mp_builtin_print_obj");
MP_DEFINE_CONST_FUN_OBJ_KW(port_print_obj, 0, port_print);
