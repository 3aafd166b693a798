// SPDX-License-Identifier: MIT
// Entry of all 256 interrupt vectors. Each pushes its number (and a zero where the CPU pushes no
// error code), saves the general registers and calls interrupt_dispatch(frame). The SSE registers
// are not saved: everything an interrupt handler calls is compiled without them (see Makefile).

    .section .text.vectors, "ax", @progbits

// Exceptions with an error code: #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX (SDM volume 3, table 6-1).
#define ERROR_CODE_VECTORS ((1 << 8) | (0xf << 10) | (1 << 14) | (1 << 17) | (1 << 21) | (3 << 29))

    .global vector_stubs
    .balign 16
vector_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .set cpu_pushes_error, 0
    .if vector < 32
    .set cpu_pushes_error, (ERROR_CODE_VECTORS >> vector) & 1
    .endif
    .if !cpu_pushes_error
    pushq $0
    .endif
    pushq $vector
    jmp interrupt_common
    .set vector, vector + 1
    .endr

// What the .cfi lines say goes into .debug_frame of micropython.sym.elf only: gdb's backtrace goes
// on through an interrupt to what it interrupted.
    .cfi_sections .debug_frame
interrupt_common:
    .cfi_startproc simple
    .cfi_signal_frame
    .cfi_def_cfa rsp, 56        // vector, error code, rip, cs, rflags, rsp, ss
    .cfi_offset rip, -40
    .cfi_offset rsp, -16
    .irp register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
    pushq %\register
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset \register, 0
    .endr
    cld
    movq %rsp, %rdi
    call interrupt_dispatch     // the frame is 22 quadwords on a 16-byte aligned stack: rsp is aligned
    .irp register, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
    popq %\register
    .cfi_adjust_cfa_offset -8
    .cfi_restore \register
    .endr
    addq $16, %rsp              // vector and error code
    .cfi_adjust_cfa_offset -16
    iretq
    .cfi_endproc

// void descriptor_tables_load(const void *gdt_pointer, const void *idt_pointer)
    .global descriptor_tables_load
descriptor_tables_load:
    lgdt (%rdi)
    lidt (%rsi)
    movw $0x10, %ax             // KERNEL_DS
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    movw $0x18, %ax             // KERNEL_TSS
    ltr %ax
    popq %rax                   // return through a far return, to reload cs
    pushq $0x08                 // KERNEL_CS
    pushq %rax
    lretq

// void cpu_sti_hlt(void): the instruction after sti runs before any interrupt is taken, so none
// slips in before hlt. An emulated SVM does let one in, at times: interrupt_dispatch() then returns
// behind cpu_hlt, as if it had come one instruction later.
    .global cpu_sti_hlt, cpu_hlt
cpu_sti_hlt:
    .cfi_startproc
    sti
cpu_hlt:
    hlt
    ret
    .cfi_endproc

    .section .note.GNU-stack, "", @progbits
