; SPDX-License-Identifier: MIT
; The first instructions after reset: 16-bit real mode -> 32-bit -> 64-bit, identity-mapped, then the IPL.
; A flat binary that ends at 4 GiB. It trusts only that RAM exists below 640 KiB, and touches no device
; but the serial port and debugcon, and those only to say that the CPU cannot run this firmware.

%include "layout.inc"

%define SIZE      0x200
%define CODE32    0x08
%define DATA      0x10
%define CODE64    0x18

%define CR0_PE    (1 << 0)
%define CR0_MP    (1 << 1)              ; wait/fwait honours TS
%define CR0_EM    (1 << 2)
%define CR0_TS    (1 << 3)
%define CR0_NE    (1 << 5)              ; x87 errors as exceptions, not as IRQ 13
%define CR0_WP    (1 << 16)             ; read-only pages bind the kernel too
%define CR0_NW    (1 << 29)
%define CR0_CD    (1 << 30)
%define CR0_PG    (1 << 31)
%define CR4_PAE   (1 << 5)
%define CR4_FXSR  (1 << 9)              ; OSFXSR: SSE instructions usable
%define CR4_XMM   (1 << 10)             ; OSXMMEXCPT: SSE errors as exceptions
%define MSR_EFER  0xC0000080
%define EFER_LME  (1 << 8)
%define EFER_NXE  (1 << 11)
%define CPUID_LM  (1 << 29)             ; CPUID 0x80000001 EDX: long mode
%define CPUID_NX  (1 << 20)             ;                       no-execute pages

%define PTE_P_RW_A 0x23                 ; present, writable, accessed
%define PDE_LARGE  0xE3                 ; present, writable, accessed, dirty, 2 MiB

        org     0x100000000 - SIZE

; ---- 32-bit: flat segments, no paging -------------------------------------------------------------------

        bits    32
protected_mode:
        mov     ax, DATA
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     [IPL_STATE], esi        ; ipl_state.tsc_at_reset
        mov     [IPL_STATE + 4], edi

        mov     eax, 0x80000000
        cpuid
        cmp     eax, 0x80000001
        jb      unusable_cpu
        mov     eax, 0x80000001
        cpuid
        and     edx, CPUID_LM | CPUID_NX
        cmp     edx, CPUID_LM | CPUID_NX
        jne     unusable_cpu

; Early page tables: the low 4 GiB in 2 MiB pages. PML4 | PDPT | four page directories.
        mov     edi, IPL_EARLY_PAGE_TABLES
        xor     eax, eax
        mov     ecx, 2 * 4096 / 4
        rep stosd
        mov     ebx, IPL_EARLY_PAGE_TABLES
        lea     eax, [ebx + 0x1000 + PTE_P_RW_A]
        mov     [ebx], eax
        mov     ecx, 4
.directory:
        lea     eax, [ecx * 8]
        mov     edx, ecx
        shl     edx, 12
        lea     edx, [ebx + edx + 0x1000 + PTE_P_RW_A]
        mov     [ebx + 0x1000 + eax - 8], edx
        loop    .directory
        mov     eax, PDE_LARGE
        xor     edx, edx
        mov     ecx, 2048
.large_page:
        mov     [edi], eax              ; edi: first page directory, where the rep stosd ended
        mov     [edi + 4], edx
        add     eax, 0x200000
        add     edi, 8
        loop    .large_page

        mov     cr3, ebx
        mov     eax, CR4_PAE | CR4_FXSR | CR4_XMM
        mov     cr4, eax
        mov     ecx, MSR_EFER
        rdmsr
        or      eax, EFER_LME | EFER_NXE
        wrmsr
        mov     eax, CR0_PG | CR0_WP | CR0_NE | CR0_MP | CR0_PE
        mov     cr0, eax
        jmp     CODE64:long_mode

; One line on both consoles, then stop.
unusable_cpu:
        mov     esi, .message
.next:
        lodsb
        test    al, al
        jz      .halt
        mov     dx, 0x402
        out     dx, al
        mov     dx, 0x3F8
        out     dx, al
        jmp     .next
.halt:
        hlt
        jmp     .halt
.message:
        db      "reset: this CPU lacks 64-bit mode or no-execute pages", 13, 10, 0

; ---- 64-bit ---------------------------------------------------------------------------------------------

        bits    64
long_mode:
        mov     eax, DATA
        mov     ds, eax
        mov     es, eax
        mov     fs, eax
        mov     gs, eax
        mov     ss, eax
        fninit
        xor     ebp, ebp                ; the IPL's backtrace ends here
        mov     esp, IPL_STACK_TOP
        mov     eax, IPL_ENTRY
        call    rax                     ; does not return

; ---- 16-bit: real mode, CS base 0xFFFF0000 --------------------------------------------------------------

        bits    16
real_mode:
        rdtsc                           ; before anything else: the clock's zero
        mov     esi, eax
        mov     edi, edx
        o32 lgdt [cs:gdt_pointer - $$ + 0x10000 - SIZE]
        mov     eax, cr0
        and     eax, ~(CR0_CD | CR0_NW | CR0_EM | CR0_TS)
        or      eax, CR0_PE
        mov     cr0, eax
        jmp     dword CODE32:protected_mode

; ---- constants ------------------------------------------------------------------------------------------
; All descriptors are marked as accessed: the CPU would otherwise try to write to flash.

        align   8
gdt:
        dq      0
        dq      0x00CF9B000000FFFF      ; CODE32: execute, read, 4 GiB
        dq      0x00CF93000000FFFF      ; DATA:   read, write, 4 GiB
        dq      0x00AF9B000000FFFF      ; CODE64
gdt_end:
gdt_pointer:
        dw      gdt_end - gdt - 1
        dd      gdt

; ---- 0xFFFFFFF0: where the CPU starts -------------------------------------------------------------------

        times   SIZE - 16 - ($ - $$) db 0xFF
reset:
        jmp     near real_mode
        times   SIZE - ($ - $$) db 0xFF
