// SPDX-License-Identifier: MIT
// machine.journal: the lines of the log for whoever carries them further, as the debug console has
// them. They wait in a ring that Python brings along, whole lines only; what finds no room is counted.

#include <string.h>
#include "py/runtime.h"
#include "port/journal.h"
#include "port/modmachine.h"

MP_REGISTER_ROOT_POINTER(mp_obj_t journal_ring);   // a buffer; MP_OBJ_NULL: nobody wants the log
MP_REGISTER_ROOT_POINTER(mp_obj_t journal_vector); // the machine.Vector that hears of each line

static size_t put, get; // positions in the ring; equal: it is empty
static size_t line;     // where the line that is being written goes on; it begins at `put`
static bool cut;        // that line found no room
static mp_uint_t lost;  // lines since lost() was asked

const mp_obj_base_t machine_journal_obj = { &machine_journal_type };

void journal_init(void) {
    MP_STATE_PORT(journal_ring) = MP_OBJ_NULL;
    MP_STATE_PORT(journal_vector) = MP_OBJ_NULL;
    put = get = line = lost = 0;
    cut = false;
}

static mp_buffer_info_t ring(void) {
    mp_buffer_info_t bufinfo;
    mp_get_buffer_raise(MP_STATE_PORT(journal_ring), &bufinfo, MP_BUFFER_RW);
    return bufinfo;
}

void journal_strn(const char *str, size_t len) {
    if (MP_STATE_PORT(journal_ring) == MP_OBJ_NULL) {
        return;
    }
    mp_buffer_info_t to = ring();
    for (; len != 0 && !cut; ++str, --len) {
        size_t next = line + 1 < to.len ? line + 1 : 0;
        if (next == get || line >= to.len) {
            cut = true;
        } else {
            ((uint8_t *)to.buf)[line] = *str;
            line = next;
        }
    }
}

void journal_end(void) {
    if (MP_STATE_PORT(journal_ring) == MP_OBJ_NULL) {
        return;
    }
    if (cut) {
        ++lost;
        line = put;
        cut = false;
    } else {
        put = line;
    }
    machine_vector_trigger(MP_STATE_PORT(journal_vector));
}

// irq(vector, ring): from now on the log's lines go to the buffer `ring` as well, and `vector` is
// triggered for them. irq(None, None): no longer.
static mp_obj_t journal_irq(mp_obj_t self_in, mp_obj_t vector, mp_obj_t buffer) {
    (void)self_in;
    journal_init();
    if (vector != mp_const_none) {
        if (!mp_obj_is_type(vector, &machine_vector_type)) {
            mp_raise_TypeError(MP_ERROR_TEXT("a machine.Vector, or None"));
        }
        mp_buffer_info_t bufinfo;
        mp_get_buffer_raise(buffer, &bufinfo, MP_BUFFER_RW);
        MP_STATE_PORT(journal_vector) = vector;
        MP_STATE_PORT(journal_ring) = buffer;
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(journal_irq_obj, journal_irq);

// take(): the lines that wait, as bytes.
static mp_obj_t journal_take(mp_obj_t self_in) {
    (void)self_in;
    if (get == put) {
        return mp_const_empty_bytes;
    }
    mp_buffer_info_t from = ring();
    size_t first = get < put ? put - get : from.len - get;
    size_t rest = get < put ? 0 : put;
    vstr_t lines;
    vstr_init_len(&lines, first + rest);
    memcpy(lines.buf, (uint8_t *)from.buf + get, first);
    memcpy(lines.buf + first, from.buf, rest);
    get = put;
    return mp_obj_new_bytes_from_vstr(&lines);
}
static MP_DEFINE_CONST_FUN_OBJ_1(journal_take_obj, journal_take);

// lost(): how many lines found no room since it was asked last.
static mp_obj_t journal_lost(mp_obj_t self_in) {
    (void)self_in;
    mp_uint_t n = lost;
    lost = 0;
    return mp_obj_new_int_from_uint(n);
}
static MP_DEFINE_CONST_FUN_OBJ_1(journal_lost_obj, journal_lost);

static const mp_rom_map_elem_t journal_locals_dict_table[] = {
    { MP_ROM_QSTR(MP_QSTR_irq), MP_ROM_PTR(&journal_irq_obj) },
    { MP_ROM_QSTR(MP_QSTR_take), MP_ROM_PTR(&journal_take_obj) },
    { MP_ROM_QSTR(MP_QSTR_lost), MP_ROM_PTR(&journal_lost_obj) },
};
static MP_DEFINE_CONST_DICT(journal_locals_dict, journal_locals_dict_table);

MP_DEFINE_CONST_OBJ_TYPE(
    machine_journal_type,
    MP_QSTR_Journal,
    MP_TYPE_FLAG_NONE,
    locals_dict, &journal_locals_dict);
