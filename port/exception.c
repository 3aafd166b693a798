// SPDX-License-Identifier: MIT
// CPU exceptions: a report on serial and debugcon, then back to Python. What a program provokes
// (a bad address through machine.mem32, an undefined instruction, a write to code) becomes an
// OSError(EFAULT) where it happened; running into the guard page becomes a RuntimeError. An
// exception in a place that cannot be unwound, such as the collector, restarts the interpreter.

#include <string.h>
#include "py/gc.h"
#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "port/debugcon.h"
#include "port/hob.h"
#include "port/interrupts.h"
#include "port/main.h"
#include "port/memory.h"

#define VECTOR_PAGE_FAULT   (14)
#define VECTOR_DOUBLE_FAULT (8)
#define PF_PRESENT          (1 << 0)
#define PF_WRITE            (1 << 1)
#define PF_FETCH            (1 << 4)
#define MAX_BACKTRACE       (16)
#define MAX_STACK_WORDS     (2048) // searched for return addresses

extern const uint8_t _text_start[], _text_end[];

static const char *const names[VECTOR_EXCEPTIONS] = {
    "divide error", "debug", "NMI", "breakpoint", "overflow", "bound range exceeded",
    "undefined instruction", "device not available", "double fault", NULL, "invalid TSS",
    "segment not present", "stack fault", "general protection", "page fault", NULL,
    "x87 error", "alignment check", "machine check", "SIMD error", "virtualization",
    "control protection"
};

// Whether address is where a call instruction would return to: call rel32, or call r/m64.
static bool is_return_address(uint64_t address) {
    const uint8_t *p = (const uint8_t *)(uintptr_t)address;
    if (p - _text_start < 8 || p >= _text_end) {
        return false;
    }
    if (p[-5] == 0xe8) {
        return true;
    }
    for (int len = 2; len <= 7; ++len) {
        if (p[-len] == 0xff && (p[1 - len] >> 3 & 7) == 2) {
            return true;
        }
    }
    return false;
}

static void report_backtrace(uint64_t rsp) {
    const stack_range_t stack = hob_stack();
    mp_printf(&report_print, "  return addresses:");
    size_t found = 0;
    rsp = (rsp + 7) & ~(uint64_t)7;
    for (size_t i = 0; i < MAX_STACK_WORDS && found < MAX_BACKTRACE; ++i, rsp += 8) {
        if (rsp < stack.base || rsp >= stack.top) {
            break;
        }
        uint64_t word = *(const uint64_t *)(uintptr_t)rsp;
        if (is_return_address(word)) {
            mp_printf(&report_print, " %lx", word);
            ++found;
        }
    }
    mp_printf(&report_print, "\n");
}

static void report(const interrupt_frame_t *f, uint64_t fault_address) {
    mp_printf(&report_print, "\nCPU exception %u (%s), error code %lx at %lx\n", (unsigned)f->vector,
        names[f->vector] ? names[f->vector] : "reserved", f->error, f->rip);
    if (f->vector == VECTOR_PAGE_FAULT) {
        mp_printf(&report_print, "  %s %lx: %s\n",
            f->error & PF_FETCH ? "execution of" : (f->error & PF_WRITE ? "write to" : "read of"), fault_address,
            f->error & PF_PRESENT ? "not permitted" : "not mapped");
    }
    static const char reg_names[15][4] = {
        "r15", "r14", "r13", "r12", "r11", "r10", "r9", "r8", "rbp", "rdi", "rsi", "rdx", "rcx", "rbx", "rax"
    };
    const uint64_t *regs = &f->r15;
    for (size_t i = 15; i-- > 0;) {
        mp_printf(&report_print, "  %3s %016lx%s", reg_names[i], regs[i], i % 4 == 3 ? "\n" : "");
    }
    mp_printf(&report_print, "  rsp %016lx\n  flags %lx  cr2 %lx  cr3 %lx\n", f->rsp, f->rflags, fault_address, cpu_read_cr3());
    report_backtrace(f->rsp);
}

// Runs on the interrupted stack, or on the rescue stack after a stack overflow.
static void __attribute__((noreturn)) raise_fault(bool stack_overflow) {
    // The collector must not run here: it would scan from the rescue stack, or from the middle
    // of whatever was interrupted. With the heap locked the exception object comes from the
    // emergency buffer.
    gc_lock();
    mp_obj_t exc = stack_overflow
        ? mp_obj_new_exception_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("stack overflow"))
        : mp_obj_new_exception_arg1(&mp_type_OSError, MP_OBJ_NEW_SMALL_INT(MP_EFAULT));
    gc_unlock();
    nlr_raise(exc);
}

static uint8_t rescue_stack[8 * 1024] __attribute__((aligned(16)));

// Makes the interrupted program continue in fn(arg) on the stack that ends at top.
static void resume_in(interrupt_frame_t *f, void *fn, uint64_t arg, uint64_t top) {
    f->rip = (uintptr_t)fn;
    f->rdi = arg;
    f->rsp = (top & ~(uint64_t)15) - 8; // as if called
    f->rflags = (f->rflags | CPU_RFLAGS_IF) & ~(uint64_t)((1 << 10) | (1 << 8)); // DF, TF off
}

void exception_handle(interrupt_frame_t *f) {
    static unsigned depth;
    uint64_t fault_address = get_cr2();
    if (++depth > 1) {
        mp_printf(&report_print, "\nCPU exception %u at %lx while reporting one; halted\n", (unsigned)f->vector, f->rip);
        halt_forever();
    }
    report(f, fault_address);

    const stack_range_t stack = hob_stack();
    bool in_guard = f->vector == VECTOR_PAGE_FAULT && fault_address < stack.base && stack.base - fault_address <= PAGE_SIZE;
    bool on_stack = f->rsp > stack.base && f->rsp <= stack.top;
    bool unwindable = MP_STATE_THREAD(nlr_top) != NULL && !gc_is_locked() && (f->rflags & CPU_RFLAGS_IF);
    if (unwindable && in_guard) {
        resume_in(f, raise_fault, true, (uintptr_t)rescue_stack + sizeof(rescue_stack));
    } else if (unwindable && on_stack) {
        resume_in(f, raise_fault, false, f->rsp - 256);
    } else {
        mp_printf(&report_print, "  not in Python code: the interpreter restarts\n");
        resume_in(f, main_restart, 0, stack.top);
    }
    --depth;
}
