// SPDX-License-Identifier: MIT
// The builtin iter(), which takes a sentinel too: iter(function, end) calls until that comes, as in
// CPython. Upstream's has one argument; mpconfigport.h makes it a weak symbol.

#include "py/runtime.h"

typedef struct _call_iter_obj_t {
    mp_obj_base_t base;
    mp_obj_t function; // MP_OBJ_NULL once it is over
    mp_obj_t end;
} call_iter_obj_t;

static mp_obj_t call_iter_next(mp_obj_t self_in) {
    call_iter_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->function != MP_OBJ_NULL) {
        mp_obj_t value = mp_call_function_0(self->function);
        if (!mp_obj_equal(value, self->end)) {
            return value;
        }
        self->function = MP_OBJ_NULL;
    }
    return MP_OBJ_STOP_ITERATION;
}

static MP_DEFINE_CONST_OBJ_TYPE(
    call_iter_type, MP_QSTR_callable_iterator, MP_TYPE_FLAG_ITER_IS_ITERNEXT, iter, call_iter_next);

static mp_obj_t port_iter(size_t n_args, const mp_obj_t *args) {
    if (n_args == 1) {
        return mp_getiter(args[0], NULL);
    }
    if (!mp_obj_is_callable(args[0])) {
        mp_raise_TypeError(MP_ERROR_TEXT("iter(v, w): v must be callable"));
    }
    call_iter_obj_t *self = mp_obj_malloc(call_iter_obj_t, &call_iter_type);
    self->function = args[0];
    self->end = args[1];
    return MP_OBJ_FROM_PTR(self);
}

// Under upstream's name, though a function object of another C type than upstream's declaration.
extern const mp_obj_fun_builtin_var_t port_iter_obj __asm__("mp_builtin_iter_obj");
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(port_iter_obj, 1, 2, port_iter);
