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

interrupt_common:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    call interrupt_dispatch     // the frame is 22 quadwords on a 16-byte aligned stack: rsp is aligned
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp              // vector and error code
    iretq

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

    .section .note.GNU-stack, "", @progbits
