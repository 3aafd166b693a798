// SPDX-License-Identifier: MIT
// machine.DMABuffer: memory that a device may read and write, zeroed if not told otherwise. It lies outside the GC heap,
// so the collector neither scans nor moves nor frees it; it lives until free() or a soft reset,
// whether or not Python still knows the object, because a device may still know the address.

#include <string.h>
#include "py/binary.h"
#include "py/runtime.h"
#include "port/memory.h"
#include "port/modmachine.h"

typedef struct _machine_dma_obj_t {
    mp_obj_base_t base;
    uint8_t *memory; // NULL once freed
    size_t size;
} machine_dma_obj_t;

// DMABuffer(size, align=4096, clear=True): size in bytes, align a power of two. With clear=False it
// holds whatever was there. MemoryError if there is no such piece of RAM.
static mp_obj_t machine_dma_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *all_args) {
    enum {
        ARG_size,
        ARG_align,
        ARG_clear
    };
    static const mp_arg_t allowed_args[] = {
        { MP_QSTR_size, MP_ARG_REQUIRED | MP_ARG_INT, { .u_int = 0 } },
        { MP_QSTR_align, MP_ARG_INT, { .u_int = PAGE_SIZE } },
        { MP_QSTR_clear, MP_ARG_BOOL, { .u_bool = true } },
    };
    mp_arg_val_t args[MP_ARRAY_SIZE(allowed_args)];
    mp_arg_parse_all_kw_array(n_args, n_kw, all_args, MP_ARRAY_SIZE(allowed_args), allowed_args, args);
    mp_int_t size = args[ARG_size].u_int, align = args[ARG_align].u_int;
    if (size <= 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("size must be positive"));
    }
    if (align <= 0 || (align & (align - 1)) != 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("align must be a power of two"));
    }
    machine_dma_obj_t *self = mp_obj_malloc(machine_dma_obj_t, type);
    self->memory = memory_alloc(size, align, MEMORY_DMA);
    if (self->memory == NULL) {
        m_malloc_fail(size);
    }
    self->size = size;
    if (args[ARG_clear].u_bool) {
        memset(self->memory, 0, size);
    }
    return MP_OBJ_FROM_PTR(self);
}

static void machine_dma_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    (void)kind;
    machine_dma_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->memory == NULL) {
        mp_print_str(print, "<DMABuffer, freed>");
    } else {
        mp_printf(print, "<DMABuffer %lu bytes at 0x%lx>", self->size, (uintptr_t)self->memory);
    }
}

static machine_dma_obj_t *get_live(mp_obj_t self_in) {
    machine_dma_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->memory == NULL) {
        mp_raise_ValueError(MP_ERROR_TEXT("buffer is freed"));
    }
    return self;
}

static mp_obj_t machine_dma_unary_op(mp_unary_op_t op, mp_obj_t self_in) {
    machine_dma_obj_t *self = MP_OBJ_TO_PTR(self_in);
    switch (op) {
        case MP_UNARY_OP_BOOL:
            return mp_obj_new_bool(self->memory != NULL);
        case MP_UNARY_OP_LEN:
            return MP_OBJ_NEW_SMALL_INT(self->memory == NULL ? 0 : self->size);
        default:
            return MP_OBJ_NULL;
    }
}

static mp_obj_t machine_dma_subscr(mp_obj_t self_in, mp_obj_t index, mp_obj_t value) {
    machine_dma_obj_t *self = get_live(self_in);
    if (value == MP_OBJ_NULL) {
        return MP_OBJ_NULL; // deletion is not supported
    }
    if (!mp_obj_is_int(index)) {
        // A slice: let memoryview do it.
        mp_obj_t view = mp_obj_new_memoryview('B' | 0x80, self->size, self->memory);
        return mp_obj_subscr(view, index, value);
    }
    size_t i = mp_get_index(self->base.type, self->size, index, false);
    if (value == MP_OBJ_SENTINEL) {
        return MP_OBJ_NEW_SMALL_INT(self->memory[i]);
    }
    self->memory[i] = mp_obj_get_int(value);
    return mp_const_none;
}

static mp_int_t machine_dma_get_buffer(mp_obj_t self_in, mp_buffer_info_t *bufinfo, mp_uint_t flags) {
    (void)flags;
    machine_dma_obj_t *self = get_live(self_in);
    bufinfo->buf = self->memory;
    bufinfo->len = self->size;
    bufinfo->typecode = 'B';
    return 0;
}

static void machine_dma_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    if (dest[0] == MP_OBJ_NULL && attr == MP_QSTR_addr) {
        dest[0] = mp_obj_new_int_from_uint((uintptr_t)get_live(self_in)->memory);
    } else {
        dest[1] = MP_OBJ_SENTINEL; // go on in locals_dict
    }
}

static mp_obj_t machine_dma_free(mp_obj_t self_in) {
    machine_dma_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->memory != NULL) {
        memory_free(self->memory);
        self->memory = NULL;
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(machine_dma_free_obj, machine_dma_free);

static const mp_rom_map_elem_t machine_dma_locals_dict_table[] = {
    { MP_ROM_QSTR(MP_QSTR_free), MP_ROM_PTR(&machine_dma_free_obj) },
};
static MP_DEFINE_CONST_DICT(machine_dma_locals_dict, machine_dma_locals_dict_table);

MP_DEFINE_CONST_OBJ_TYPE(
    machine_dma_type,
    MP_QSTR_DMABuffer,
    MP_TYPE_FLAG_NONE,
    make_new, machine_dma_make_new,
    print, machine_dma_print,
    unary_op, machine_dma_unary_op,
    subscr, machine_dma_subscr,
    buffer, machine_dma_get_buffer,
    attr, machine_dma_attr,
    locals_dict, &machine_dma_locals_dict);

// machine.dma_used(): bytes in DMABuffers, whole pages.
static mp_obj_t machine_dma_used(void) {
    return mp_obj_new_int_from_uint(memory_used(MEMORY_DMA));
}
MP_DEFINE_CONST_FUN_OBJ_0(machine_dma_used_obj, machine_dma_used);

// machine.dma_reserve(n): the heap grows no further than that there are n bytes for DMABuffers, those
// in use among them; for who will want them later. 0: whoever comes first has them.
static mp_obj_t machine_dma_reserve(mp_obj_t n) {
    mp_int_t size = mp_obj_get_int(n);
    memory_reserve_dma(MAX(size, 0));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(machine_dma_reserve_obj, machine_dma_reserve);

// Arguments of copy() are small ints almost always, which need no call.
static inline mp_int_t copy_number(mp_obj_t obj) {
    return mp_obj_is_small_int(obj) ? MP_OBJ_SMALL_INT_VALUE(obj) : mp_obj_get_int(obj);
}

// A buffer of which n bytes from offset are needed, or an address.
static inline uint8_t *copy_operand(mp_obj_t obj, mp_int_t offset, mp_int_t n, mp_uint_t flags) {
    if (mp_obj_is_small_int(obj)) {
        return (uint8_t *)MP_OBJ_SMALL_INT_VALUE(obj) + offset;
    }
    if (mp_obj_is_int(obj)) {
        return (uint8_t *)(uintptr_t)mp_obj_get_int_truncated(obj) + offset;
    }
    mp_buffer_info_t bufinfo;
    mp_get_buffer_raise(obj, &bufinfo, flags);
    if (offset < 0 || n < 0 || (size_t)offset > bufinfo.len || (size_t)n > bufinfo.len - offset) {
        mp_raise_msg(&mp_type_IndexError, MP_ERROR_TEXT("copy beyond the buffer's end"));
    }
    return (uint8_t *)bufinfo.buf + offset;
}

// machine.copy(dst, dst_off, src, src_off, n): n bytes; dst and src are buffers or addresses and
// may overlap. Allocates nothing. IndexError beyond a buffer's end.
static mp_obj_t machine_copy(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_int_t n = copy_number(args[4]);
    uint8_t *dst = copy_operand(args[0], copy_number(args[1]), n, MP_BUFFER_WRITE);
    const uint8_t *src = copy_operand(args[2], copy_number(args[3]), n, MP_BUFFER_READ);
    if (n < 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("n must not be negative"));
    }
    memmove(dst, src, n);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(machine_copy_obj, 5, 5, machine_copy);

// machine.nbytes(buffer, writable=False): its length in bytes, whatever its items are. TypeError if
// it is no buffer, or not writable although it should be; a str, whose bytes MicroPython lends, is
// none here, as in CPython.
static mp_obj_t machine_nbytes(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t bufinfo;
    bool write = n_args > 1 && mp_obj_is_true(args[1]);
    bool is_buffer = mp_get_buffer(args[0], &bufinfo, write ? MP_BUFFER_WRITE : MP_BUFFER_READ);
    if (!is_buffer || (!write && mp_obj_is_str(args[0]))) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("a %sbytes-like object is required, not '%s'"),
            write ? "read-write " : "", mp_obj_get_type_str(args[0]));
    }
    return MP_OBJ_NEW_SMALL_INT(bufinfo.len);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(machine_nbytes_obj, 1, 2, machine_nbytes);
