// SPDX-License-Identifier: MIT
// machine.terminal: a terminal whose wire is Python's, for os.dupterm(). What comes over the wire is
// put in with feed(); what goes out is gathered here, and a vector tells Python that it may be
// taken, so that print() costs no call for each piece and the REPL none for each key.

#include <string.h>
#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/ringbuf.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "port/memory.h"
#include "port/modmachine.h"
#include "port/terminal.h"

typedef struct _buffers_t {
    uint8_t in[16 * 1024];
    uint8_t out[4096];
    uint8_t kept[512]; // what keep() was given
} buffers_t;

static buffers_t *buffers; // made when first used, outlives a soft reset
static ringbuf_t in_ring;
static bool in_held; // feed() left bytes to its caller, who hears when there is room
static size_t out_len;
static bool making_room; // Python takes output, because there was no room for more
static size_t kept_len;

// The Vector that is triggered when there is output, or room for input again; None: nobody is there.
MP_REGISTER_ROOT_POINTER(mp_obj_t terminal_vector);

const mp_obj_base_t machine_terminal_obj = { &machine_terminal_type };

void terminal_init(void) {
    MP_STATE_PORT(terminal_vector) = mp_const_none;
    in_held = false;
    out_len = 0;
    making_room = false;
}

static void need_buffers(void) {
    if (buffers == NULL) {
        buffers = memory_alloc(sizeof(buffers_t), PAGE_SIZE, MEMORY_TERMINAL);
        if (buffers == NULL) {
            mp_raise_OSError(MP_ENOMEM);
        }
        in_ring = (ringbuf_t) { buffers->in, sizeof(buffers->in), 0, 0 };
    }
}

static void call_python(void) {
    if (MP_STATE_PORT(terminal_vector) != mp_const_none) {
        machine_vector_trigger(MP_STATE_PORT(terminal_vector));
    }
}

// irq(vector=None): the machine.Vector that hears of output, and of room for what feed() left. Its
// handler is called with None instead of the vector when it has to take output at once, and may wait.
static mp_obj_t terminal_irq(size_t n_args, const mp_obj_t *args) {
    mp_obj_t vector = n_args > 1 ? args[1] : mp_const_none;
    if (vector != mp_const_none && !mp_obj_is_type(vector, &machine_vector_type)) {
        mp_raise_TypeError(MP_ERROR_TEXT("a machine.Vector, or None"));
    }
    need_buffers();
    MP_STATE_PORT(terminal_vector) = vector;
    out_len = 0;
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(terminal_irq_obj, 1, 2, terminal_irq);

// feed(data): what came over the wire. Returns how many bytes of it are done with; the others are for
// later. While a program runs, the interrupt character raises KeyboardInterrupt, and what came before
// it was meant for that program.
static mp_obj_t terminal_feed(mp_obj_t self_in, mp_obj_t data) {
    (void)self_in;
    mp_buffer_info_t bufinfo;
    mp_get_buffer_raise(data, &bufinfo, MP_BUFFER_READ);
    need_buffers();
    const uint8_t *from = bufinfo.buf;
    size_t done = 0;
    for (size_t i = 0; mp_interrupt_char >= 0 && i < bufinfo.len; ++i) {
        if (from[i] == mp_interrupt_char) {
            in_ring.iget = in_ring.iput;
            done = i + 1;
            mp_sched_keyboard_interrupt();
        }
    }
    while (done < bufinfo.len && ringbuf_put(&in_ring, from[done]) == 0) {
        ++done;
    }
    in_held = done < bufinfo.len;
    return MP_OBJ_NEW_SMALL_INT(done);
}
static MP_DEFINE_CONST_FUN_OBJ_2(terminal_feed_obj, terminal_feed);

// take(buffer): move gathered output there; returns how many bytes.
static mp_obj_t terminal_take(mp_obj_t self_in, mp_obj_t buffer) {
    (void)self_in;
    mp_buffer_info_t bufinfo;
    mp_get_buffer_raise(buffer, &bufinfo, MP_BUFFER_WRITE);
    size_t n = MIN(bufinfo.len, out_len);
    if (n != 0) {
        memcpy(bufinfo.buf, buffers->out, n);
        memmove(buffers->out, buffers->out + n, out_len - n);
    }
    out_len -= n;
    return MP_OBJ_NEW_SMALL_INT(n);
}
static MP_DEFINE_CONST_FUN_OBJ_2(terminal_take_obj, terminal_take);

// keep(data): bytes that outlive a soft reset; keeps() tells whether there are any, kept() returns
// them, once.
static mp_obj_t terminal_keep(mp_obj_t self_in, mp_obj_t data) {
    (void)self_in;
    mp_buffer_info_t bufinfo;
    mp_get_buffer_raise(data, &bufinfo, MP_BUFFER_READ);
    need_buffers();
    if (bufinfo.len > sizeof(buffers->kept)) {
        mp_raise_ValueError(MP_ERROR_TEXT("too long"));
    }
    memcpy(buffers->kept, bufinfo.buf, bufinfo.len);
    kept_len = bufinfo.len;
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(terminal_keep_obj, terminal_keep);

static mp_obj_t terminal_keeps(mp_obj_t self_in) {
    (void)self_in;
    return mp_obj_new_bool(kept_len != 0);
}
static MP_DEFINE_CONST_FUN_OBJ_1(terminal_keeps_obj, terminal_keeps);

static mp_obj_t terminal_kept(mp_obj_t self_in) {
    (void)self_in;
    size_t n = kept_len;
    kept_len = 0;
    return n == 0 ? mp_const_empty_bytes : mp_obj_new_bytes(buffers->kept, n);
}
static MP_DEFINE_CONST_FUN_OBJ_1(terminal_kept_obj, terminal_kept);

// -- what os.dupterm sees -------------------------------------------------------------------------

static size_t available(void) {
    return buffers == NULL ? 0 : ringbuf_avail(&in_ring);
}

static mp_uint_t terminal_read(mp_obj_t self_in, void *buf, mp_uint_t size, int *errcode) {
    (void)self_in;
    size_t n = MIN(size, available());
    if (n == 0 && size != 0) {
        *errcode = MP_EAGAIN;
        return MP_STREAM_ERROR;
    }
    if (n != 0) {
        ringbuf_get_bytes(&in_ring, buf, n);
    }
    if (in_held && ringbuf_free(&in_ring) >= sizeof(buffers->in) / 2) {
        in_held = false;
        call_python();
    }
    return n;
}

// Have Python take what is gathered, although something else runs; Ctrl-C during that is meant for
// what runs.
static void make_room(void) {
    mp_obj_t handler = machine_vector_handler(MP_STATE_PORT(terminal_vector));
    if (handler == mp_const_none) {
        return;
    }
    making_room = true;
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        mp_call_function_1(handler, mp_const_none);
        nlr_pop();
    } else if (mp_obj_is_subclass_fast(MP_OBJ_FROM_PTR(mp_obj_get_type(MP_OBJ_FROM_PTR(nlr.ret_val))),
                   MP_OBJ_FROM_PTR(&mp_type_KeyboardInterrupt))) {
        mp_sched_exception(MP_OBJ_FROM_PTR(nlr.ret_val));
    } else {
        mp_obj_print_exception(&mp_plat_print, MP_OBJ_FROM_PTR(nlr.ret_val));
    }
    making_room = false;
}

// All of it, or, when nobody takes it, as much as there was room for.
static mp_uint_t terminal_write(mp_obj_t self_in, const void *buf, mp_uint_t size, int *errcode) {
    (void)self_in;
    (void)errcode;
    const uint8_t *from = buf;
    size_t left = size;
    while (left != 0 && MP_STATE_PORT(terminal_vector) != mp_const_none) {
        if (out_len == sizeof(buffers->out)) {
            if (making_room) {
                break;
            }
            make_room();
            if (out_len == sizeof(buffers->out)) {
                break;
            }
            continue;
        }
        size_t n = MIN(left, sizeof(buffers->out) - out_len);
        memcpy(buffers->out + out_len, from, n);
        out_len += n;
        from += n;
        left -= n;
        call_python();
    }
    return size;
}

static mp_uint_t terminal_ioctl(mp_obj_t self_in, mp_uint_t request, uintptr_t arg, int *errcode) {
    (void)self_in;
    switch (request) {
        case MP_STREAM_POLL: {
            mp_uint_t ready = arg & MP_STREAM_POLL_WR;
            return available() != 0 ? ready | (arg & MP_STREAM_POLL_RD) : ready;
        }
        case MP_STREAM_FLUSH:
        case MP_STREAM_CLOSE:
            return 0;
        default:
            *errcode = MP_EINVAL;
            return MP_STREAM_ERROR;
    }
}

static const mp_rom_map_elem_t terminal_locals_dict_table[] = {
    { MP_ROM_QSTR(MP_QSTR_irq), MP_ROM_PTR(&terminal_irq_obj) },
    { MP_ROM_QSTR(MP_QSTR_feed), MP_ROM_PTR(&terminal_feed_obj) },
    { MP_ROM_QSTR(MP_QSTR_take), MP_ROM_PTR(&terminal_take_obj) },
    { MP_ROM_QSTR(MP_QSTR_keep), MP_ROM_PTR(&terminal_keep_obj) },
    { MP_ROM_QSTR(MP_QSTR_keeps), MP_ROM_PTR(&terminal_keeps_obj) },
    { MP_ROM_QSTR(MP_QSTR_kept), MP_ROM_PTR(&terminal_kept_obj) },
    { MP_ROM_QSTR(MP_QSTR_read), MP_ROM_PTR(&mp_stream_read_obj) },
    { MP_ROM_QSTR(MP_QSTR_write), MP_ROM_PTR(&mp_stream_write_obj) },
};
static MP_DEFINE_CONST_DICT(terminal_locals_dict, terminal_locals_dict_table);

static const mp_stream_p_t terminal_stream_p = {
    .read = terminal_read,
    .write = terminal_write,
    .ioctl = terminal_ioctl,
};

MP_DEFINE_CONST_OBJ_TYPE(
    machine_terminal_type,
    MP_QSTR_Terminal,
    MP_TYPE_FLAG_NONE,
    protocol, &terminal_stream_p,
    locals_dict, &terminal_locals_dict);
