// SPDX-License-Identifier: MIT
// Upstream's exceptions, and OSError's subclasses as CPython has them (its Objects/exceptions.c):
// OSError(EPIPE) is a BrokenPipeError, whoever makes it, Python or C. It costs a look at the number
// when an OSError is made, and nothing else.

#include <stdarg.h> // py/runtime.h declares some functions only behind it
#include "py/mperrno.h"
#include "py/objexcept.h"
#include "py/runtime.h"
#include "port/strerror.h"
#include "shared/runtime/pyexec.h"

static mp_obj_t exception_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args);
static void exception_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind);
static void exception_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest);

// Where upstream defines or calls these, it is its own, under these names. In the types' slots the
// names have no parenthesis behind them: there they are ours, below.
#define mp_obj_exception_make_new(...) exception_make_new(__VA_ARGS__)
#define mp_obj_exception_print(...)    exception_print(__VA_ARGS__)
#define mp_obj_exception_attr(...)     exception_attr(__VA_ARGS__)
#include "py/objexcept.c"
#undef mp_obj_exception_make_new
#undef mp_obj_exception_print
#undef mp_obj_exception_attr

OSERROR_SUBCLASSES(MP_DEFINE_EXCEPTION)

static const mp_obj_type_t *subclass_of(mp_int_t number) {
    switch (number) {
        case MP_EPERM:
        case MP_EACCES:
            return &mp_type_PermissionError;
        case MP_ENOENT:
            return &mp_type_FileNotFoundError;
        case MP_ESRCH:
            return &mp_type_ProcessLookupError;
        case MP_EINTR:
            return &mp_type_InterruptedError;
        case MP_ECHILD:
            return &mp_type_ChildProcessError;
        case MP_EAGAIN:
        case MP_EALREADY:
        case MP_EINPROGRESS:
            return &mp_type_BlockingIOError;
        case MP_EEXIST:
            return &mp_type_FileExistsError;
        case MP_ENOTDIR:
            return &mp_type_NotADirectoryError;
        case MP_EISDIR:
            return &mp_type_IsADirectoryError;
        case MP_EPIPE:
        case MP_ESHUTDOWN:
            return &mp_type_BrokenPipeError;
        case MP_ECONNABORTED:
            return &mp_type_ConnectionAbortedError;
        case MP_ECONNRESET:
            return &mp_type_ConnectionResetError;
        case MP_ETIMEDOUT:
            return &mp_type_TimeoutError;
        case MP_ECONNREFUSED:
            return &mp_type_ConnectionRefusedError;
        default:
            return &mp_type_OSError;
    }
}

static bool is_oserror(const mp_obj_type_t *type) {
    return mp_obj_is_subclass_fast(MP_OBJ_FROM_PTR(type), MP_OBJ_FROM_PTR(&mp_type_OSError));
}

// In CPython the number decides only if something stands behind it; C code of MicroPython's and
// much of its Python give no more than the number. But a lone 1 is what programs write who mean no
// number in particular, upstream's tests among them: that stays an OSError.
mp_obj_t mp_obj_exception_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    if (type == &mp_type_OSError && n_args > 0 && mp_obj_is_small_int(args[0])) {
        mp_int_t number = MP_OBJ_SMALL_INT_VALUE(args[0]);
        if (n_args > 1 || number != MP_EPERM) {
            type = subclass_of(number);
        }
    }
    return exception_make_new(type, n_args, n_kw, args);
}

// Upstream's has errors' names for OSError alone. What ends a program in the raw REPL is an OSError
// by that name whatever its class: mpremote reads it there to tell why a file could not be had.
void mp_obj_exception_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    mp_obj_exception_t self = *(mp_obj_exception_t *)MP_OBJ_TO_PTR(self_in);
    bool repr = (kind & ~PRINT_EXC_SUBCLASS) == PRINT_REPR;
    if (repr && is_oserror(self.base.type) && self.args->len == 1 && mp_obj_is_str(self.args->items[0])) {
        // As CPython's: upstream's is a tuple's, OSError('text',).
        if (!(kind & PRINT_EXC_SUBCLASS)) {
            mp_print_str(print, qstr_str(self.base.type->name));
        }
        mp_print_str(print, "(");
        mp_obj_print_helper(print, self.args->items[0], PRINT_REPR);
        mp_print_str(print, ")");
        return;
    }
    if (self.base.type == &mp_type_OSError || !is_oserror(self.base.type)) {
        exception_print(print, self_in, kind);
        return;
    }
    if (kind == PRINT_REPR || (kind == PRINT_EXC && pyexec_mode_kind != PYEXEC_MODE_RAW_REPL)) {
        mp_print_str(print, qstr_str(self.base.type->name));
        kind |= PRINT_EXC_SUBCLASS;
    }
    self.base.type = &mp_type_OSError;
    exception_print(print, MP_OBJ_FROM_PTR(&self), kind);
}

// errno: the number, if there is one. A TimeoutError("timed out") has none, as CPython's.
static mp_obj_t oserror_errno(const mp_obj_tuple_t *args) {
    return args->len > 1 || (args->len == 1 && mp_obj_is_int(args->items[0])) ? args->items[0] : mp_const_none;
}

// strerror: what stands behind the number, or what Linux says of the number.
static mp_obj_t oserror_strerror(const mp_obj_tuple_t *args) {
    if (args->len == 1 && mp_obj_is_small_int(args->items[0])) {
        return strerror_text(MP_OBJ_SMALL_INT_VALUE(args->items[0]));
    }
    return args->len > 1 ? args->items[1] : mp_const_none;
}

// args: a lone number has its text behind it, since programs take a system call's error apart so.
static mp_obj_t oserror_args(mp_obj_tuple_t *args) {
    mp_obj_t text = args->len == 1 ? oserror_strerror(args) : mp_const_none;
    if (text == mp_const_none) {
        return MP_OBJ_FROM_PTR(args);
    }
    mp_obj_t both[] = { args->items[0], text };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(both), both);
}

void mp_obj_exception_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    const mp_obj_exception_t *self = MP_OBJ_TO_PTR(self_in);
    bool ours = attr == MP_QSTR_errno || attr == MP_QSTR_strerror || attr == MP_QSTR_filename || attr == MP_QSTR_args;
    if (dest[0] != MP_OBJ_NULL || !ours || !is_oserror(self->base.type)) {
        exception_attr(self_in, attr, dest);
    } else if (attr == MP_QSTR_errno) {
        dest[0] = oserror_errno(self->args);
    } else if (attr == MP_QSTR_strerror) {
        dest[0] = oserror_strerror(self->args);
    } else if (attr == MP_QSTR_args) {
        dest[0] = oserror_args(self->args);
    } else {
        dest[0] = self->args->len > 2 ? self->args->items[2] : mp_const_none;
    }
}
