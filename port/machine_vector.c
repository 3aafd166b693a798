// SPDX-License-Identifier: MIT
// machine.Vector: an interrupt vector for a device that signals by message (MSI, MSI-X). Python
// can count its interrupts, have a handler scheduled, or sleep in machine.wait() until one comes; and
// have one raised by itself after a while.
//
// Handlers run between a program's bytecodes, and the scheduler runs them until none is left: a device that
// interrupts without an end could keep programs from going on. So, while a program computes,
// - a vector whose handler found nothing many times in a row, and often, has it run once a millisecond,
//   until it finds something, or no interrupt came for so long;
// - handlers that have taken BURST_US are held until programs have had as long, the devices' interrupts
//   with them.
// Who waits is kept from nothing: as long as a wait lasts nothing is held.

#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "port/interrupts.h"
#include "port/lapic.h"
#include "port/modmachine.h"

#define N_VECTORS    (VECTOR_LAST - VECTOR_FIRST + 1)
#define BURST_US     (2000)  // Linux's softirqs make way after as long
#define HOLD_MOST_US (50000) // a handler that seems to have taken longer stood still with the machine
#define INTERRUPT_US (2)     // about what an interrupt takes, without its handler
#define EMPTY_MOST   (32)
#define POLL_US      (1000)

typedef struct _machine_vector_obj_t {
    mp_obj_base_t base;
    mp_sched_node_t node;
    volatile mp_uint_t count; // interrupts so far; only the interrupt handler writes it
    volatile uint64_t due;    // when after() has it interrupt, in clock_us(); 0: not
    mp_obj_t handler;         // None, or called with the vector once per burst
    uint8_t number;
    bool open;
    volatile bool held;       // the handler is to run, once it may
    uint32_t empty;           // times in a row that the handler found nothing,
    uint64_t empty_since;     // and when the first of them was, in clock_us()
    volatile uint64_t poll_at; // when the handler may run again, in clock_us(); 0: at any time
} machine_vector_obj_t;

static volatile uint64_t spent;      // us, by handlers and interrupts; an interrupt's may be lost
static uint64_t spent_since;         // in clock_us()
static volatile uint64_t hold_until; // in clock_us(); 0: handlers are not held
static volatile bool any_held;
static bool waiting;                 // a program waits

MP_REGISTER_ROOT_POINTER(struct _machine_vector_obj_t *machine_vectors[176]);
_Static_assert(N_VECTORS == 176, "upstream's qstr pass cannot evaluate N_VECTORS");

// Handlers and interrupts have taken BURST_US: hold them, unless programs have had as long.
static void settle(void) {
    uint64_t state = cpu_irq_save(), now = clock_us(), elapsed = now - spent_since;
    if (2 * spent > elapsed) { // the hold that goes on, if one does, becomes longer by that
        hold_until = MAX(hold_until, now) + MIN(2 * spent - elapsed, HOLD_MOST_US);
        lapic_hold_devices(!waiting);
        machine_vector_raise_due();
    }
    spent = 0;
    spent_since = now;
    cpu_irq_restore(state);
}

static inline void spend(uint64_t us) {
    spent += us;
    if (spent > BURST_US) {
        settle();
    }
}

// When its handler may run again, 0: at any time.
static void poll_at(machine_vector_obj_t *self, uint64_t at) {
    self->empty = 0;
    if (self->poll_at != at) {
        uint64_t state = cpu_irq_save();
        self->poll_at = at;
        machine_vector_raise_due();
        cpu_irq_restore(state);
    }
}

static void found_nothing(machine_vector_obj_t *self, uint64_t now) {
    if (self->empty == 0) {
        self->empty_since = now;
    }
    if (++self->empty >= EMPTY_MOST && self->poll_at == 0) {
        poll_at(self, now - self->empty_since < EMPTY_MOST * POLL_US ? now + POLL_US : 0);
    }
}

static void run_handler(mp_sched_node_t *node) {
    machine_vector_obj_t *self = (machine_vector_obj_t *)((char *)node - offsetof(machine_vector_obj_t, node));
    if (!self->open) {
        MP_STATE_PORT(machine_vectors)[self->number - VECTOR_FIRST] = NULL; // close() left this to us
    } else if (self->handler != mp_const_none) {
        uint64_t start = clock_us();
        mp_obj_t found = mp_call_function_1_protected(self->handler, MP_OBJ_FROM_PTR(self));
        uint64_t end = clock_us();
        if (found == mp_const_false) {
            found_nothing(self, end);
        } else {
            poll_at(self, 0);
        }
        spend(end - start);
        // The handler may have made true what somebody is about to sleep for.
        mp_hal_signal_event();
    }
}

// Interrupts are off.
static void schedule(machine_vector_obj_t *self) {
    ++self->count;
    if (self->handler == mp_const_none) {
        return;
    }
    if ((hold_until | self->poll_at) != 0 && !waiting) {
        self->held = any_held = true;
    } else {
        mp_sched_schedule_node(&self->node, run_handler);
    }
}

// Runs in the interrupt.
static void vector_interrupt(void *arg) {
    schedule(arg);
    spend(INTERRUPT_US);
}

static void let_go(machine_vector_obj_t *self) {
    self->held = false;
    mp_sched_schedule_node(&self->node, run_handler);
}

// Schedule the handler if it is due, or held and may run; when to look again, or 0.
static uint64_t raise_one(machine_vector_obj_t *self, uint64_t now, bool held_until_now) {
    if (self->due != 0 && self->due <= now) {
        self->due = 0;
        schedule(self);
    }
    if (self->poll_at != 0 && held_until_now) {
        self->poll_at = now + POLL_US; // what was held from coming does not show yet
    } else if (self->poll_at != 0 && self->poll_at <= now && hold_until == 0) {
        self->poll_at = self->held ? now + POLL_US : 0;
        if (self->held) {
            let_go(self);
        }
    } else if (self->poll_at == 0 && hold_until == 0 && self->held) {
        let_go(self);
    }
    uint64_t at = hold_until == 0 ? self->poll_at : 0;
    return at == 0 || (self->due != 0 && self->due < at) ? self->due : at;
}

// Have handlers run whose time has come; have the timer interrupt for the next. Interrupts are off.
void machine_vector_raise_due(void) {
    uint64_t now = clock_us();
    bool over = hold_until != 0 && hold_until <= now;
    if (over) {
        hold_until = 0;
        lapic_hold_devices(false);
        spent = 0;
        spent_since = now;
    }
    uint64_t next = hold_until;
    any_held = false;
    for (size_t i = 0; i < N_VECTORS; ++i) {
        machine_vector_obj_t *self = MP_STATE_PORT(machine_vectors)[i];
        if (self != NULL) {
            uint64_t at = raise_one(self, now, over);
            next = at == 0 || (next != 0 && next < at) ? next : at;
            any_held |= self->held;
        }
    }
    mp_hal_set_timer_at_us(next);
}

// A program begins to wait, or has waited. Interrupts are off.
void machine_vector_wait(bool begins) {
    waiting = begins;
    if (hold_until != 0) {
        lapic_hold_devices(!begins);
    }
    if (!begins || !any_held) {
        return;
    }
    any_held = false;
    for (size_t i = 0; i < N_VECTORS; ++i) {
        machine_vector_obj_t *self = MP_STATE_PORT(machine_vectors)[i];
        if (self != NULL && self->held) {
            let_go(self);
        }
    }
    mp_hal_signal_event(); // it goes on at once, with these
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
            self->empty = 0;
            self->poll_at = 0;
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
// it runs. It returns False if it found nothing to do.
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
        self->poll_at = 0;
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
    hold_until = spent = 0;
    any_held = waiting = false;
    lapic_hold_devices(false);
    for (size_t i = 0; i < N_VECTORS; ++i) {
        vector_set_handler(VECTOR_FIRST + i, NULL, NULL);
        MP_STATE_PORT(machine_vectors)[i] = NULL;
    }
    // What the scheduler still has are nodes of ours, in a heap that is about to go.
    MP_STATE_VM(sched_head) = MP_STATE_VM(sched_tail) = NULL;
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
