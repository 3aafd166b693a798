// SPDX-License-Identifier: MIT
// machine.port8, port16, port32: I/O ports, indexed like machine.mem8. machine.mem64: upstream's
// memory objects stop at 32 bits.

#include "py/runtime.h"
#include "port/cpu.h"
#include "port/modmachine.h"

typedef struct _machine_port_obj_t {
    mp_obj_base_t base;
    uint8_t size; // bytes
} machine_port_obj_t;

static void machine_port_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    (void)kind;
    machine_port_obj_t *self = MP_OBJ_TO_PTR(self_in);
    mp_printf(print, "<%u-bit I/O ports>", 8 * self->size);
}

static mp_obj_t machine_port_subscr(mp_obj_t self_in, mp_obj_t index, mp_obj_t value) {
    machine_port_obj_t *self = MP_OBJ_TO_PTR(self_in);
    mp_int_t port = mp_obj_get_int(index);
    if (port < 0 || port > 0x10000 - self->size) {
        mp_raise_ValueError(MP_ERROR_TEXT("I/O ports are 0..0xffff"));
    }
    if (value == MP_OBJ_NULL) {
        return MP_OBJ_NULL; // deletion is not supported
    }
    if (value == MP_OBJ_SENTINEL) {
        switch (self->size) {
            case 1:
                return MP_OBJ_NEW_SMALL_INT(in8(port));
            case 2:
                return MP_OBJ_NEW_SMALL_INT(in16(port));
            default:
                return MP_OBJ_NEW_SMALL_INT(in32(port));
        }
    }
    uint32_t val = mp_obj_get_int_truncated(value);
    switch (self->size) {
        case 1:
            out8(port, val);
            break;
        case 2:
            out16(port, val);
            break;
        default:
            out32(port, val);
            break;
    }
    return mp_const_none;
}

static MP_DEFINE_CONST_OBJ_TYPE(
    machine_port_type,
    MP_QSTR_port,
    MP_TYPE_FLAG_NONE,
    print, machine_port_print,
    subscr, machine_port_subscr);

const machine_port_obj_t machine_port8_obj = { { &machine_port_type }, 1 };
const machine_port_obj_t machine_port16_obj = { { &machine_port_type }, 2 };
const machine_port_obj_t machine_port32_obj = { { &machine_port_type }, 4 };

static void machine_mem64_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    (void)self_in;
    (void)kind;
    mp_print_str(print, "<64-bit memory>");
}

static mp_obj_t machine_mem64_subscr(mp_obj_t self_in, mp_obj_t index, mp_obj_t value) {
    (void)self_in;
    uintptr_t addr = mp_obj_get_int_truncated(index);
    if (addr & 7) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("address %08x is not aligned to %d bytes"), addr, 8);
    }
    volatile uint64_t *p = (volatile uint64_t *)addr;
    if (value == MP_OBJ_NULL) {
        return MP_OBJ_NULL; // deletion is not supported
    }
    if (value == MP_OBJ_SENTINEL) {
        return mp_obj_new_int_from_ull(*p);
    }
    *p = mp_obj_get_int_truncated(value);
    return mp_const_none;
}

static MP_DEFINE_CONST_OBJ_TYPE(
    machine_mem64_type,
    MP_QSTR_mem,
    MP_TYPE_FLAG_NONE,
    print, machine_mem64_print,
    subscr, machine_mem64_subscr);

const mp_obj_base_t machine_mem64_obj = { &machine_mem64_type };
