// SPDX-License-Identifier: MIT
// sys.stdin, stdout and stderr on the console, with their .buffer. In place of upstream's
// shared/runtime/sys_stdio_mphal.c, because CPython's files have fileno() and flush(), and a
// program that asks a standard stream for them should get its answer here too.

#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stream.h"

enum {
    STDIN_FILENO,
    STDOUT_FILENO,
    STDERR_FILENO,
};

typedef struct _sys_stdio_obj_t {
    mp_obj_base_t base;
    uint8_t fd;
    const struct _sys_stdio_obj_t *buffer; // the binary stream behind a text stream
} sys_stdio_obj_t;

static void stdio_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    (void)kind;
    sys_stdio_obj_t *self = MP_OBJ_TO_PTR(self_in);
    mp_printf(print, "<io.%s %d>", mp_obj_get_type_str(self_in), self->fd);
}

// Waits until all of size has come, as on all ports; text has carriage returns made newlines.
static mp_uint_t stdio_read(mp_obj_t self_in, void *buf, mp_uint_t size, int *errcode) {
    sys_stdio_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->fd != STDIN_FILENO) {
        *errcode = MP_EPERM;
        return MP_STREAM_ERROR;
    }
    for (size_t i = 0; i < size; i++) {
        int c = mp_hal_stdin_rx_chr();
        ((byte *)buf)[i] = self->buffer != NULL && c == '\r' ? '\n' : c;
    }
    return size;
}

static mp_uint_t stdio_write(mp_obj_t self_in, const void *buf, mp_uint_t size, int *errcode) {
    sys_stdio_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->fd == STDIN_FILENO) {
        *errcode = MP_EPERM;
        return MP_STREAM_ERROR;
    }
    if (self->buffer != NULL) {
        mp_hal_stdout_tx_strn_cooked(buf, size);
    } else {
        mp_hal_stdout_tx_strn(buf, size);
    }
    return size;
}

static mp_uint_t stdio_ioctl(mp_obj_t self_in, mp_uint_t request, uintptr_t arg, int *errcode) {
    sys_stdio_obj_t *self = MP_OBJ_TO_PTR(self_in);
    switch (request) {
        case MP_STREAM_POLL:
            return mp_hal_stdio_poll(arg);
        case MP_STREAM_FLUSH:
        case MP_STREAM_CLOSE:
            return 0;
        case MP_STREAM_GET_FILENO:
            return self->fd;
        default:
            *errcode = MP_EINVAL;
            return MP_STREAM_ERROR;
    }
}

static mp_obj_t stdio_fileno(mp_obj_t self_in) {
    sys_stdio_obj_t *self = MP_OBJ_TO_PTR(self_in);
    return MP_OBJ_NEW_SMALL_INT(self->fd);
}
static MP_DEFINE_CONST_FUN_OBJ_1(stdio_fileno_obj, stdio_fileno);

static const mp_rom_map_elem_t stdio_locals_dict_table[] = {
    { MP_ROM_QSTR(MP_QSTR_fileno), MP_ROM_PTR(&stdio_fileno_obj) },
    { MP_ROM_QSTR(MP_QSTR_read), MP_ROM_PTR(&mp_stream_read_obj) },
    { MP_ROM_QSTR(MP_QSTR_readinto), MP_ROM_PTR(&mp_stream_readinto_obj) },
    { MP_ROM_QSTR(MP_QSTR_readline), MP_ROM_PTR(&mp_stream_unbuffered_readline_obj) },
    { MP_ROM_QSTR(MP_QSTR_readlines), MP_ROM_PTR(&mp_stream_unbuffered_readlines_obj) },
    { MP_ROM_QSTR(MP_QSTR_write), MP_ROM_PTR(&mp_stream_write_obj) },
    { MP_ROM_QSTR(MP_QSTR_flush), MP_ROM_PTR(&mp_stream_flush_obj) },
    { MP_ROM_QSTR(MP_QSTR_close), MP_ROM_PTR(&mp_identity_obj) },
    { MP_ROM_QSTR(MP_QSTR___enter__), MP_ROM_PTR(&mp_identity_obj) },
    { MP_ROM_QSTR(MP_QSTR___exit__), MP_ROM_PTR(&mp_stream___exit___obj) },
};
static MP_DEFINE_CONST_DICT(stdio_locals_dict, stdio_locals_dict_table);

static void stdio_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    sys_stdio_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (dest[0] == MP_OBJ_NULL && attr == MP_QSTR_buffer && self->buffer != NULL) {
        dest[0] = MP_OBJ_FROM_PTR(self->buffer);
    } else {
        dest[1] = MP_OBJ_SENTINEL; // go on in locals_dict
    }
}

static const mp_stream_p_t stdio_text_stream_p = {
    .read = stdio_read,
    .write = stdio_write,
    .ioctl = stdio_ioctl,
    .is_text = true,
};

static const mp_stream_p_t stdio_binary_stream_p = {
    .read = stdio_read,
    .write = stdio_write,
    .ioctl = stdio_ioctl,
};

static MP_DEFINE_CONST_OBJ_TYPE(
    stdio_text_type,
    MP_QSTR_TextIOWrapper,
    MP_TYPE_FLAG_ITER_IS_STREAM,
    print, stdio_print,
    attr, stdio_attr,
    protocol, &stdio_text_stream_p,
    locals_dict, &stdio_locals_dict);

static MP_DEFINE_CONST_OBJ_TYPE(
    stdio_binary_type,
    MP_QSTR_FileIO,
    MP_TYPE_FLAG_ITER_IS_STREAM,
    print, stdio_print,
    protocol, &stdio_binary_stream_p,
    locals_dict, &stdio_locals_dict);

static const sys_stdio_obj_t stdin_buffer_obj = { { &stdio_binary_type }, STDIN_FILENO, NULL };
static const sys_stdio_obj_t stdout_buffer_obj = { { &stdio_binary_type }, STDOUT_FILENO, NULL };
static const sys_stdio_obj_t stderr_buffer_obj = { { &stdio_binary_type }, STDERR_FILENO, NULL };

// py/modsys.c and py/modbuiltins.c know these by name.
const sys_stdio_obj_t mp_sys_stdin_obj = { { &stdio_text_type }, STDIN_FILENO, &stdin_buffer_obj };
const sys_stdio_obj_t mp_sys_stdout_obj = { { &stdio_text_type }, STDOUT_FILENO, &stdout_buffer_obj };
const sys_stdio_obj_t mp_sys_stderr_obj = { { &stdio_text_type }, STDERR_FILENO, &stderr_buffer_obj };
