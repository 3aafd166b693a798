// SPDX-License-Identifier: MIT
// COM1, a 16550 UART: interrupt-driven receive into a ring, polled transmit through the FIFO.
// Compiled without SSE, because its interrupt handler does not save those registers.
//
// Nothing that the host sends is lost while the ring has room, and raw-paste's flow control
// keeps it from filling. When it is full all the same: with Ctrl-C enabled the handler goes on
// reading so that the console can always be had back, and drops what is not the interrupt
// character, as a terminal does; with Ctrl-C disabled (binary transfers) it stops reading, and
// the UART holds the sender.

#include "py/mphal.h"
#include "py/runtime.h"
#include "py/ringbuf.h"
#include "port/cpu.h"
#include "port/serial.h"

#define COM1      (0x3f8)
#define UART_DATA (COM1 + 0) // RBR/THR; divisor low with DLAB
#define UART_IER  (COM1 + 1) // divisor high with DLAB
#define UART_FCR  (COM1 + 2)
#define UART_LCR  (COM1 + 3)
#define UART_MCR  (COM1 + 4)
#define UART_LSR  (COM1 + 5)

#define IER_RX_AVAILABLE (0x01)
#define FCR_ENABLE_CLEAR (0x07) // enable both FIFOs and clear them
#define FCR_TRIGGER_14   (0xc0) // QEMU hands over no more bytes at a time than the trigger level
#define LCR_8N1          (0x03)
#define LCR_DLAB         (0x80)
#define MCR_DTR_RTS_OUT2 (0x0b) // OUT2 gates the interrupt line on a PC
#define LSR_DATA_READY   (0x01)
#define LSR_THR_EMPTY    (0x20)
#define TX_FIFO_SIZE     (16)

static uint8_t rx_array[16 * 1024];
static ringbuf_t rx_ring = { rx_array, sizeof(rx_array), 0, 0 };
static bool rx_held; // the ring was full and the receive interrupt is off; serial_rx() turns it on

void serial_init(void) {
    out8(UART_IER, 0);
    out8(UART_LCR, LCR_DLAB);
    out8(UART_DATA, 1); // 115200 baud
    out8(UART_IER, 0);
    out8(UART_LCR, LCR_8N1);
    out8(UART_FCR, FCR_ENABLE_CLEAR | FCR_TRIGGER_14);
    out8(UART_MCR, MCR_DTR_RTS_OUT2);
    out8(UART_IER, IER_RX_AVAILABLE);
}

void serial_irq_handler(void) {
    while (in8(UART_LSR) & LSR_DATA_READY) {
        if (mp_interrupt_char < 0 && ringbuf_free(&rx_ring) == 0) {
            rx_held = true;
            out8(UART_IER, 0);
            return;
        }
        uint8_t c = in8(UART_DATA);
        if (c == mp_interrupt_char) {
            // What was typed before the interrupt was meant for the interrupted program.
            rx_ring.iget = rx_ring.iput;
            mp_sched_keyboard_interrupt();
        } else {
            ringbuf_put(&rx_ring, c);
        }
    }
}

bool serial_rx_any(void) {
    return ringbuf_avail(&rx_ring) != 0;
}

int serial_rx(void) {
    uint64_t state = cpu_irq_save();
    int c = ringbuf_get(&rx_ring);
    if (rx_held && ringbuf_free(&rx_ring) >= sizeof(rx_array) / 2) {
        rx_held = false;
        out8(UART_IER, IER_RX_AVAILABLE);
    }
    cpu_irq_restore(state);
    return c;
}

void serial_tx(const char *str, size_t len) {
    static size_t room; // in the FIFO, at least: asking the UART is an exit
    while (len != 0) {
        while (room == 0) {
            if (in8(UART_LSR) & LSR_THR_EMPTY) {
                room = TX_FIFO_SIZE;
            } else {
                cpu_pause();
            }
        }
        size_t n = len < room ? len : room;
        room -= n;
        len -= n;
        while (n-- != 0) {
            out8(UART_DATA, *str++);
        }
    }
}
