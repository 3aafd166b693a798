// SPDX-License-Identifier: MIT
// The port's life: bring the machine up, run MicroPython, and start it again after a soft reset.

#include "py/builtin.h"
#include "py/compile.h"
#include "py/cstack.h"
#include "py/gc.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stackctrl.h"
#include "shared/readline/readline.h"
#include "shared/runtime/gchelper.h"
#include "shared/runtime/pyexec.h"
#include "port/debugcon.h"
#include "port/hob.h"
#include "port/hypervisor.h"
#include "port/interrupts.h"
#include "port/journal.h"
#include "port/main.h"
#include "port/memory.h"
#include "port/modmachine.h"
#include "port/nativecode.h"
#include "port/ramdisk.h"
#include "port/serial.h"
#include "port/stdstreams.h"
#include "port/terminal.h"

// What of the stack Python may use. Native recursion, such as a chain of iterators, must end in a
// RuntimeError long before the guard page does it.
#define PYTHON_STACK_SIZE (160 * 1024)

static void gc_heap_init(void) {
    void *heap = memory_alloc_heap(MICROPY_GC_INITIAL_HEAP_SIZE);
    gc_init(heap, (char *)heap + MICROPY_GC_INITIAL_HEAP_SIZE);
}

// boot.py, then main.py unless a host program holds the raw REPL. True if one of them asked for
// a soft reset.
static bool run_scripts(void) {
    pyexec_frozen_module("_boot.py", false);
    int ret = pyexec_file_if_exists("boot.py");
    if (!(ret & PYEXEC_FORCED_EXIT) && pyexec_mode_kind == PYEXEC_MODE_FRIENDLY_REPL && ret != 0) {
        ret = pyexec_file_if_exists("main.py");
    }
    return ret & PYEXEC_FORCED_EXIT;
}

static void run_repl(void) {
    for (;;) {
        if (pyexec_mode_kind == PYEXEC_MODE_RAW_REPL) {
            if (pyexec_raw_repl() != 0) {
                break;
            }
        } else {
            if (pyexec_friendly_repl() != 0) {
                break;
            }
        }
    }
}

// One round from a fresh heap to a soft reset, for ever.
static void __attribute__((noreturn)) interpreter(void) {
    for (;;) {
        stack_range_t stack = hob_stack();
        mp_cstack_init_with_top((void *)stack.top, PYTHON_STACK_SIZE);
        gc_heap_init();
        mp_init();
        stdio_init();
        terminal_init();
        journal_init();
        mp_obj_list_append(mp_sys_path, MP_OBJ_NEW_QSTR(MP_QSTR__slash_lib));
        readline_init0();

        if (!run_scripts()) {
            run_repl();
        }

        mp_printf(MP_PYTHON_PRINTER, "MPY: soft reboot\n");
        machine_deinit();
        gc_sweep_all();
        mp_deinit();
        nativecode_deinit();
        memory_free_kind(MEMORY_DMA);
        memory_reserve_dma(0);
        memory_free_kind(MEMORY_HEAP);
    }
}

// Called by the IPL (firmware/ipl) with the PI hand-off block list, interrupts off.
void payload_main(const void *hob_list_in) {
    hob_init(hob_list_in);
    serial_init();
    hypervisor_init();
    interrupts_init();
    clock_begin();
    memory_init();
    ramdisk_init();
    machine_disk_init();
    machine_init();
    clock_init();
    cpu_irq_restore(CPU_RFLAGS_IF);
    interpreter();
}

void main_restart(void) {
    // Nothing of the old interpreter can be trusted to run once more, so nothing is finalised.
    // Its devices may still write to their DMA memory, which therefore stays allocated.
    machine_vector_deinit_all();
    machine_crashed();
    nativecode_deinit();
    memory_free_kind(MEMORY_HEAP);
    pyexec_mode_kind = PYEXEC_MODE_FRIENDLY_REPL;
    interpreter();
}

void gc_collect(void) {
    gc_collect_start();
    gc_helper_collect_regs_and_stack();
    gc_collect_end();
}

void nlr_jump_fail(void *val) {
    mp_printf(&report_print, "\nuncaught exception outside of any handler: ");
    mp_obj_print_exception(&report_print, MP_OBJ_FROM_PTR(val));
    main_restart();
    halt_forever();
}

#ifndef NDEBUG
void __assert_fail(const char *expr, const char *file, unsigned int line, const char *func) {
    mp_printf(&report_print, "\n%s:%u: %s: assertion %s failed\n", file, line, func, expr);
    halt_forever();
}
#endif
