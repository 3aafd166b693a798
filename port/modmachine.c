// SPDX-License-Identifier: MIT
// The port's part of the machine module; extmod/modmachine.c includes it.

#include <string.h>
#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/objstr.h"
#include "port/debugcon.h"
#include "port/hob.h"
#include "port/journal.h"
#include "port/littlefs.h"
#include "port/memory.h"
#include "port/modmachine.h"
#include "port/stdstreams.h"
#include "port/terminal.h"

#define RESET_CONTROL       (0xcf9)  // PIIX3 and ICH9: bit 1 hard, bit 2 go
#define PM1A_CONTROL_OFFSET (4)      // PM1a_CNT_BLK from PMBASE on PIIX4 and ICH9
#define PM1_SLP_EN          (1 << 13)
#define PM1_SLP_TYP_S5      (0 << 10) // QEMU's \_S5 object says 0 on both chipsets
#define CMOS_INDEX          (0x70)
#define CMOS_DATA           (0x71)
#define CMOS_SHUTDOWN       (0x40)   // a byte that nothing else uses; QEMU clears 0x0f, the PC's own, on reset
#define SHUTDOWN_BY_PYTHON  (0xa5)
#define DEBUG_EXIT          (0xf4)   // isa-debug-exit: QEMU ends with 2 * status + 1
#define FW_CFG_SELECTOR     (0x510)
#define FW_CFG_DATA         (0x511)
#define FW_CFG_UUID         (0x02)

enum {
    MACHINE_PWRON_RESET = 1,
    MACHINE_HARD_RESET = 2,
    MACHINE_SOFT_RESET = 5,
    MACHINE_CRASH_RESET = 6, // ours: the interpreter could not go on
};

static uint8_t reset_cause = MACHINE_PWRON_RESET;

static uint8_t cmos_shutdown_read(void) {
    out8(CMOS_INDEX, CMOS_SHUTDOWN);
    return in8(CMOS_DATA);
}

static void cmos_shutdown_write(uint8_t value) {
    out8(CMOS_INDEX, CMOS_SHUTDOWN);
    out8(CMOS_DATA, value);
}

void machine_init(void) {
    if (cmos_shutdown_read() == SHUTDOWN_BY_PYTHON) {
        reset_cause = MACHINE_HARD_RESET;
        cmos_shutdown_write(0);
    }
}

// The functions that machine.atreset() was given, a list; None before the first.
MP_REGISTER_ROOT_POINTER(mp_obj_t machine_atreset_list);

// The functions that machine.atend() was given, likewise.
MP_REGISTER_ROOT_POINTER(mp_obj_t machine_atend_list);

static mp_obj_t append_to(mp_obj_t *list, mp_obj_t fn) {
    if (*list == MP_OBJ_NULL) {
        *list = mp_obj_new_list(0, NULL);
    }
    return mp_obj_list_append(*list, fn);
}

// Call all of a list, the last one first, once.
static void call_all(mp_obj_t *list) {
    if (*list == MP_OBJ_NULL) {
        return;
    }
    size_t len;
    mp_obj_t *items;
    mp_obj_list_get(*list, &len, &items);
    *list = MP_OBJ_NULL;
    while (len-- != 0) {
        nlr_buf_t nlr;
        if (nlr_push(&nlr) == 0) {
            mp_call_function_0(items[len]);
            nlr_pop();
        } else {
            mp_obj_print_exception(&mp_plat_print, MP_OBJ_FROM_PTR(nlr.ret_val));
        }
    }
}

void machine_deinit(void) {
    call_all(&MP_STATE_PORT(machine_atreset_list));
    MP_STATE_PORT(machine_atend_list) = MP_OBJ_NULL;
    machine_vector_deinit_all();
    mp_hal_set_alarm_us(-1);
    reset_cause = MACHINE_SOFT_RESET;
}

void machine_crashed(void) {
    // What the old heap holds is not called.
    MP_STATE_PORT(machine_atreset_list) = MP_STATE_PORT(machine_atend_list) = MP_OBJ_NULL;
    reset_cause = MACHINE_CRASH_RESET;
}

// atreset(fn): fn() is called before a soft reset frees DMA memory; a driver stops its device
// there. The last one registered is called first.
static mp_obj_t machine_atreset(mp_obj_t fn) {
    return append_to(&MP_STATE_PORT(machine_atreset_list), fn);
}
static MP_DEFINE_CONST_FUN_OBJ_1(machine_atreset_obj, machine_atreset);

// atend(fn): fn() is called before the machine is off or reset, the last one first; what has gone as
// far as a buffer goes on its way there.
static mp_obj_t machine_atend(mp_obj_t fn) {
    return append_to(&MP_STATE_PORT(machine_atend_list), fn);
}
static MP_DEFINE_CONST_FUN_OBJ_1(machine_atend_obj, machine_atend);

// finish(): call what atend() was given now, because the VMM may end the machine any moment.
static mp_obj_t machine_finish(void) {
    call_all(&MP_STATE_PORT(machine_atend_list));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(machine_finish_obj, machine_finish);

// The frozen module _notify is there for whoever has something to tell, and else not even imported.
static mp_obj_t notify_hear(mp_obj_t message) {
    mp_obj_t hear[3] = { [2] = message };
    mp_obj_t module = mp_import_name(MP_QSTR__notify, mp_const_none, MP_OBJ_NEW_SMALL_INT(0));
    mp_load_method(module, MP_QSTR_hear, hear);
    return mp_call_method_n_kw(1, 0, hear);
}

// notify(message): tell the VMM how the guest is doing, in lines as sd_notify(3) has them. True if it
// asked to be told.
static mp_obj_t machine_notify(mp_obj_t message) {
    if (!mp_obj_is_str_or_bytes(message)) {
        mp_raise_TypeError(MP_ERROR_TEXT("a message is str or bytes"));
    }
    return notify_hear(message);
}
static MP_DEFINE_CONST_FUN_OBJ_1(machine_notify_obj, machine_notify);

// wait(timeout_us=-1): sleep until an interrupt has come since the last wait() or idle() returned,
// or the time is over. Runs what interrupts have scheduled. Callers check their condition again.
static mp_obj_t machine_wait(size_t n_args, const mp_obj_t *args) {
    mp_int_t timeout_us = n_args == 0 ? -1 : mp_obj_get_int(args[0]);
    mp_handle_pending(true);
    mp_hal_wait_event_us(timeout_us);
    mp_handle_pending(true);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(machine_wait_obj, 0, 1, machine_wait);

// alarm(timeout_us): whatever waits then, or next, stops waiting once that time has passed, as if
// an interrupt had come. There is one alarm, the earliest asked for; -1 takes it back.
static mp_obj_t machine_alarm(mp_obj_t timeout_us) {
    mp_hal_set_alarm_us(mp_obj_get_int(timeout_us));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(machine_alarm_obj, machine_alarm);

static void mp_machine_idle(void) {
    machine_wait(0, NULL);
}

// `how` it ends is the last line of the log, so that who ends with the VM knows why.
static void finish(const char *how) {
    debugcon_log("INFO", "machine", "%s", how);
    call_all(&MP_STATE_PORT(machine_atend_list));
    stdio_finish();
    littlefs_sync();
}

NORETURN static void mp_machine_reset(void) {
    finish("reset");
    cmos_shutdown_write(SHUTDOWN_BY_PYTHON);
    out8(RESET_CONTROL, 0x02);
    out8(RESET_CONTROL, 0x06);
    halt_forever();
}

static mp_int_t mp_machine_reset_cause(void) {
    return reset_cause;
}

// poweroff(status=0): ACPI S5; the VMM ends. Another status than 0 goes to QEMU's isa-debug-exit, if
// it has that.
static mp_obj_t machine_poweroff(size_t n_args, const mp_obj_t *args) {
    uint8_t status = n_args == 0 ? 0 : mp_obj_get_int(args[0]);
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        notify_hear(mp_const_none);
        nlr_pop();
    } else {
        mp_obj_print_exception(&mp_plat_print, MP_OBJ_FROM_PTR(nlr.ret_val));
    }
    finish("poweroff");
    if (status != 0) {
        out8(DEBUG_EXIT, status);
    }
    out16(hob_platform()->pm_base + PM1A_CONTROL_OFFSET, PM1_SLP_TYP_S5 | PM1_SLP_EN);
    halt_forever();
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(machine_poweroff_obj, 0, 1, machine_poweroff);

// The VM's UUID (QEMU -uuid), 16 bytes; zeros if it has none.
static mp_obj_t mp_machine_unique_id(void) {
    uint8_t uuid[16];
    out16(FW_CFG_SELECTOR, FW_CFG_UUID);
    for (size_t i = 0; i < sizeof(uuid); ++i) {
        uuid[i] = in8(FW_CFG_DATA);
    }
    return mp_obj_new_bytes(uuid, sizeof(uuid));
}

static mp_obj_t mp_machine_get_freq(void) {
    return mp_obj_new_int_from_ull(clock_tsc_hz());
}

static void mp_machine_set_freq(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    (void)args;
    mp_raise_NotImplementedError(MP_ERROR_TEXT("the VMM sets the frequency"));
}

static void mp_machine_lightsleep(size_t n_args, const mp_obj_t *args) {
    if (n_args != 0) {
        mp_hal_delay_ms(mp_obj_get_int(args[0]));
    } else {
        mp_event_wait_indefinite();
    }
}

// Upstream's meaning: sleep, then start as from a reset.
NORETURN static void mp_machine_deepsleep(size_t n_args, const mp_obj_t *args) {
    mp_machine_lightsleep(n_args, args);
    mp_machine_reset();
}

// log(where, what, level="INFO"): a line on the debug console.
static mp_obj_t machine_log(size_t n_args, const mp_obj_t *args) {
    debugcon_log(n_args > 2 ? mp_obj_str_get_str(args[2]) : "INFO", mp_obj_str_get_str(args[0]),
        "%s", mp_obj_str_get_str(args[1]));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(machine_log_obj, 2, 3, machine_log);

// stdio(stdin, stdout, stderr): streams for the standard ones; None is the console.
static mp_obj_t machine_stdio(size_t n_args, const mp_obj_t *args) {
    for (size_t fd = 0; fd < n_args; ++fd) {
        stdio_replace(fd, args[fd]);
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(machine_stdio_obj, 3, 3, machine_stdio);

// hobs(): the PI hand-off block list that the IPL left, read-only.
static mp_obj_t machine_hobs(void) {
    return mp_obj_new_memoryview('B', hob_list_size(), (void *)hob_list());
}
static MP_DEFINE_CONST_FUN_OBJ_0(machine_hobs_obj, machine_hobs);

// seed(): 30 bits to begin with, which the CPU makes up if it can; else they are the clock's, and no secret.
static mp_obj_t machine_seed(void) {
    uint64_t value;
    if (!random_of_cpu(&value)) {
        value = rdtsc() * 0x9e3779b97f4a7c15;
    }
    return MP_OBJ_NEW_SMALL_INT(value >> 34);
}
static MP_DEFINE_CONST_FUN_OBJ_0(machine_seed_obj, machine_seed);

// ram(): bytes of RAM above the first MiB, in use or not.
static mp_obj_t machine_ram(void) {
    return mp_obj_new_int_from_uint(memory_total());
}
static MP_DEFINE_CONST_FUN_OBJ_0(machine_ram_obj, machine_ram);

// fence(): all earlier loads and stores are done before any later one; on x86 only a store
// followed by a load needs it.
static mp_obj_t machine_fence(void) {
    fence();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(machine_fence_obj, machine_fence);

#define MICROPY_PY_MACHINE_EXTRA_GLOBALS \
    { MP_ROM_QSTR(MP_QSTR_wait), MP_ROM_PTR(&machine_wait_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_alarm), MP_ROM_PTR(&machine_alarm_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_poweroff), MP_ROM_PTR(&machine_poweroff_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_atreset), MP_ROM_PTR(&machine_atreset_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_atend), MP_ROM_PTR(&machine_atend_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_finish), MP_ROM_PTR(&machine_finish_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_notify), MP_ROM_PTR(&machine_notify_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_log), MP_ROM_PTR(&machine_log_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_stdio), MP_ROM_PTR(&machine_stdio_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_hobs), MP_ROM_PTR(&machine_hobs_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_ram), MP_ROM_PTR(&machine_ram_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_seed), MP_ROM_PTR(&machine_seed_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_fence), MP_ROM_PTR(&machine_fence_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_copy), MP_ROM_PTR(&machine_copy_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_nbytes), MP_ROM_PTR(&machine_nbytes_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_dma_used), MP_ROM_PTR(&machine_dma_used_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_dma_reserve), MP_ROM_PTR(&machine_dma_reserve_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_mem64), MP_ROM_PTR(&machine_mem64_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_port8), MP_ROM_PTR(&machine_port8_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_port16), MP_ROM_PTR(&machine_port16_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_port32), MP_ROM_PTR(&machine_port32_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_DMABuffer), MP_ROM_PTR(&machine_dma_type) }, \
        { MP_ROM_QSTR(MP_QSTR_ramdisk), MP_ROM_PTR(&machine_ramdisk_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_journal), MP_ROM_PTR(&machine_journal_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_terminal), MP_ROM_PTR(&machine_terminal_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_RTC), MP_ROM_PTR(&machine_rtc_type) }, \
        { MP_ROM_QSTR(MP_QSTR_Vector), MP_ROM_PTR(&machine_vector_type) }, \
        { MP_ROM_QSTR(MP_QSTR_CRASH_RESET), MP_ROM_INT(MACHINE_CRASH_RESET) }, \
        { MP_ROM_QSTR(MP_QSTR_PWRON_RESET), MP_ROM_INT(MACHINE_PWRON_RESET) }, \
        { MP_ROM_QSTR(MP_QSTR_HARD_RESET), MP_ROM_INT(MACHINE_HARD_RESET) }, \
        { MP_ROM_QSTR(MP_QSTR_SOFT_RESET), MP_ROM_INT(MACHINE_SOFT_RESET) },
