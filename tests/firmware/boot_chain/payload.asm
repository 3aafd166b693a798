; SPDX-License-Identifier: MIT
; The smallest payload: says on COM1 that it runs, then stops. All registers but rax, rdx and rsi stay as it found
; them, for the test to read through QEMU. With -DCRASH it executes an undefined instruction instead.

        bits    64
        default abs

        section .text
        global  _start
_start:
%ifdef CRASH
        ud2
%endif
        mov     esi, dirty              ; RAM keeps its contents through a warm reset
        cmp     qword [counter], 0
        jne     .say
        mov     esi, message
.say:
        inc     qword [counter]
        mov     edx, 0x3F8
.next:
        lodsb
        test    al, al
        jz      .halt
        out     dx, al
        jmp     .next
.halt:
        hlt
        jmp     .halt

        section .rodata
message:
        db      "payload reached", 10, 0
dirty:
        db      ".bss is not clear", 10, 0

        section .data
        times   1000 dq 0x0123456789ABCDEF

        section .bss
counter:
        resq    1
        resb    30000
