// SPDX-License-Identifier: MIT
// machine.Vector: an interrupt vector for a device that signals by message (MSI, MSI-X). Python
// can count its interrupts, have a handler scheduled, or sleep in machine.wait() until one comes; and
// have one raised by itself after a while.

#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "port/interrupts.h"
#include "port/modmachine.h"

#define N_VECTORS      (VECTOR_LAST - VECTOR_FIRST + 1)
#define QUIET_LEAST_US (20)

typedef struct _machine_vector_obj_t {
    mp_obj_base_t base;
    mp_sched_node_t node;
    volatile mp_uint_t count; // interrupts so far; only the interrupt handler writes it
    volatile uint64_t due;    // when after() has it interrupt, in clock_us(); 0: not
    mp_obj_t handler;         // None, or called with the vector once per burst
    uint8_t number;
    bool open;
    bool held;                // an interrupt came that is raised when quiet_until is past
} machine_vector_obj_t;

// Handlers of interrupts take at most half of the time: after each, programs have as long as it took.
// A device that interrupts without an end would leave them nothing: the scheduler runs handlers until
// none is left.
static volatile bool handling, put_off; // put_off: raise_due() is to be called when it is over
static volatile uint64_t quiet_until; // clock_us()

MP_REGISTER_ROOT_POINTER(struct _machine_vector_obj_t *machine_vectors[176]);
_Static_assert(N_VECTORS == 176, "upstream's qstr pass cannot evaluate N_VECTORS");

static void run_handler(mp_sched_node_t *node) {
    machine_vector_obj_t *self = (machine_vector_obj_t *)((char *)node - offsetof(machine_vector_obj_t, node));
    if (!self->open) {
        MP_STATE_PORT(machine_vectors)[self->number - VECTOR_FIRST] = NULL; // close() left this to us
    } else if (self->handler != mp_const_none) {
        uint64_t start = clock_us();
        handling = true;
        mp_call_function_1_protected(self->handler, MP_OBJ_FROM_PTR(self));
        uint64_t state = cpu_irq_save();
        handling = false;
        uint64_t end = clock_us();
        quiet_until = end + (end - start) + QUIET_LEAST_US;
        if (put_off) {
            machine_vector_raise_due();
        }
        cpu_irq_restore(state);
        // The handler may have made true what somebody is about to sleep for.
        mp_hal_signal_event();
    }
}

static void schedule(machine_vector_obj_t *self) {
    ++self->count;
    if (self->handler != mp_const_none) {
        mp_sched_schedule_node(&self->node, run_handler);
    }
}

// Runs in the interrupt.
static void vector_interrupt(void *arg) {
    machine_vector_obj_t *self = arg;
    if (self->handler == mp_const_none || (!handling && clock_us() >= quiet_until)) {
        schedule(self);
        return;
    }
    ++self->count;
    if (!self->held) {
        self->held = true;
        machine_vector_raise_due();
    }
}

// Raise what is due or held, but for what must wait; have the timer interrupt for the next. Interrupts
// are off.
void machine_vector_raise_due(void) {
    put_off = handling;
    if (put_off) {
        mp_hal_set_timer_at_us(0);
        return;
    }
    uint64_t now = clock_us(), next = 0;
    for (size_t i = 0; i < N_VECTORS; ++i) {
        machine_vector_obj_t *self = MP_STATE_PORT(machine_vectors)[i];
        if (self == NULL || (self->due == 0 && !self->held)) {
            continue;
        }
        uint64_t at = self->held || self->due < quiet_until ? quiet_until : self->due;
        if (at > now) {
            next = next == 0 || at < next ? at : next;
            continue;
        }
        if (self->due != 0 && self->due <= now) {
            self->due = 0;
            schedule(self);
        } else if (self->held) {
            mp_sched_schedule_node(&self->node, run_handler);
        }
        self->held = false;
    }
    mp_hal_set_timer_at_us(next);
}

static mp_obj_t machine_vector_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    (void)args;
    mp_arg_check_num(n_args, n_kw, 0, 0, false);
    for (size_t i = 0; i < N_VECTORS; ++i) {
        if (MP_STATE_PORT(machine_vectors)[i] == NULL) {
            machine_vector_obj_t *self = mp_obj_malloc(machine_vector_obj_t, type);
            self->node.callback = NULL;
            self->count = 0;
            self->due = 0;
            self->held = false;
            self->handler = mp_const_none;
            self->number = VECTOR_FIRST + i;
            self->open = true;
            MP_STATE_PORT(machine_vectors)[i] = self;
            vector_set_handler(self->number, vector_interrupt, self);
            return MP_OBJ_FROM_PTR(self);
        }
    }
    mp_raise_OSError(MP_EBUSY);
}

static void machine_vector_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    (void)kind;
    machine_vector_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (!self->open) {
        mp_print_str(print, "<Vector, closed>");
    } else {
        mp_printf(print, "<Vector 0x%02x, %lu interrupts>", self->number, self->count);
    }
}

static void machine_vector_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    machine_vector_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (dest[0] == MP_OBJ_NULL && attr == MP_QSTR_count) {
        dest[0] = mp_obj_new_int_from_uint(self->count);
    } else if (dest[0] == MP_OBJ_NULL && attr == MP_QSTR_number) {
        dest[0] = MP_OBJ_NEW_SMALL_INT(self->number);
    } else {
        dest[1] = MP_OBJ_SENTINEL; // go on in locals_dict
    }
}

// msi(): the (address, data) that a device writes to raise the vector (SDM volume 3, 10.11).
static mp_obj_t machine_vector_msi(mp_obj_t self_in) {
    machine_vector_obj_t *self = MP_OBJ_TO_PTR(self_in);
    mp_obj_t tuple[2] = { mp_obj_new_int_from_ull(lapic_msi_address()), MP_OBJ_NEW_SMALL_INT(self->number) };
    return mp_obj_new_tuple(2, tuple);
}
static MP_DEFINE_CONST_FUN_OBJ_1(machine_vector_msi_obj, machine_vector_msi);

// Raise it, not being in an interrupt.
void machine_vector_trigger(mp_obj_t self_in) {
    machine_vector_obj_t *self = MP_OBJ_TO_PTR(self_in);
    uint64_t state = cpu_irq_save();
    if (self->open) {
        schedule(self);
    }
    cpu_irq_restore(state);
}

mp_obj_t machine_vector_handler(mp_obj_t self_in) {
    machine_vector_obj_t *self = MP_OBJ_TO_PTR(self_in);
    return self->handler;
}

// trigger(): an interrupt that no device raises, now.
static mp_obj_t machine_vector_trigger_method(mp_obj_t self_in) {
    machine_vector_trigger(self_in);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(machine_vector_trigger_obj, machine_vector_trigger_method);

// irq(handler=None): handler(vector) is scheduled after interrupts, once for all that came until
// it runs.
static mp_obj_t machine_vector_irq(size_t n_args, const mp_obj_t *args) {
    machine_vector_obj_t *self = MP_OBJ_TO_PTR(args[0]);
    mp_obj_t handler = n_args > 1 ? args[1] : mp_const_none;
    if (handler != mp_const_none && !mp_obj_is_callable(handler)) {
        mp_raise_ValueError(MP_ERROR_TEXT("handler must be None or callable"));
    }
    self->handler = handler;
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(machine_vector_irq_obj, 1, 2, machine_vector_irq);

// after(timeout_us): an interrupt that no device raises, once that time has passed; it takes the place
// of one asked for earlier. Negative: none.
static mp_obj_t machine_vector_after(mp_obj_t self_in, mp_obj_t timeout_us) {
    machine_vector_obj_t *self = MP_OBJ_TO_PTR(self_in);
    mp_int_t us = mp_obj_get_int(timeout_us);
    if (!self->open) {
        mp_raise_OSError(MP_EBADF);
    }
    uint64_t state = cpu_irq_save();
    self->due = us < 0 ? 0 : clock_us() + us;
    machine_vector_raise_due();
    cpu_irq_restore(state);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(machine_vector_after_obj, machine_vector_after);

static mp_obj_t machine_vector_close(mp_obj_t self_in) {
    machine_vector_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->open) {
        self->open = false;
        self->held = false;
        self->due = 0;
        vector_set_handler(self->number, NULL, NULL);
        // While the scheduler holds the node the object must not be collected.
        if (self->node.callback == NULL) {
            MP_STATE_PORT(machine_vectors)[self->number - VECTOR_FIRST] = NULL;
        }
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(machine_vector_close_obj, machine_vector_close);

// At a soft reset: a device that still interrupts finds nobody.
void machine_vector_deinit_all(void) {
    mp_hal_set_timer_at_us(0);
    handling = put_off = false;
    quiet_until = 0;
    for (size_t i = 0; i < N_VECTORS; ++i) {
        vector_set_handler(VECTOR_FIRST + i, NULL, NULL);
        MP_STATE_PORT(machine_vectors)[i] = NULL;
    }
}

static const mp_rom_map_elem_t machine_vector_locals_dict_table[] = {
    { MP_ROM_QSTR(MP_QSTR_msi), MP_ROM_PTR(&machine_vector_msi_obj) },
    { MP_ROM_QSTR(MP_QSTR_irq), MP_ROM_PTR(&machine_vector_irq_obj) },
    { MP_ROM_QSTR(MP_QSTR_after), MP_ROM_PTR(&machine_vector_after_obj) },
    { MP_ROM_QSTR(MP_QSTR_trigger), MP_ROM_PTR(&machine_vector_trigger_obj) },
    { MP_ROM_QSTR(MP_QSTR_close), MP_ROM_PTR(&machine_vector_close_obj) },
};
static MP_DEFINE_CONST_DICT(machine_vector_locals_dict, machine_vector_locals_dict_table);

MP_DEFINE_CONST_OBJ_TYPE(
    machine_vector_type,
    MP_QSTR_Vector,
    MP_TYPE_FLAG_NONE,
    make_new, machine_vector_make_new,
    print, machine_vector_print,
    attr, machine_vector_attr,
    locals_dict, &machine_vector_locals_dict);
