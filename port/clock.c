// SPDX-License-Identifier: MIT
// Time from the TSC; the date from the CMOS clock (MC146818), for whoever asks for it.
//
// The TSC's frequency is what CPU or hypervisor say, where the IPL has measured about the same. Else
// it is calibrated against the ACPI PM timer (ACPI 6.5 section 4.8.3.3), whose 3.579545 MHz is the one
// frequency on the machine that needs no measuring, and so is the local APIC's timer, unless it goes by
// the TSC. Under a hypervisor that takes some hundred exits.
//
// On a shared machine the CPU can lose milliseconds between any two instructions. So each
// sample of the PM timer is bracketed by two TSC reads and only tight brackets are believed,
// and the short first calibration is refined later over longer spans, without ever letting the
// clock jump or run backwards.

#include "py/mphal.h"
#include "port/hob.h"
#include "port/hypervisor.h"
#include "port/debugcon.h"
#include "port/interrupts.h"
#include "port/lapic.h"
#include "shared/timeutils/timeutils.h"

#define PM_TIMER_HZ      (3579545)
#define PM_TIMER_MASK    (0xffffff) // 24 bits in any case
#define PM_TIMER_OFFSET  (8)        // PM_TMR_BLK from PMBASE on PIIX4 and ICH9
#define FIRST_SPAN_TICKS (3580)     // 1 ms
#define SAMPLES          (8)

#define CMOS_INDEX (0x70)
#define CMOS_DATA  (0x71)

typedef struct _sample_t {
    uint64_t tsc;  // the middle of the bracket
    uint64_t width; // the bracket itself, the sample's uncertainty in TSC ticks
    uint32_t pm;
} sample_t;

static struct {
    uint16_t pm_port;
    bool told; // the frequency is not measured
    sample_t origin; // calibration's beginning; refining measures from here
    uint64_t tsc_hz;
    uint64_t lapic_hz;
    uint32_t lapic_origin; // the LAPIC timer at the calibration's beginning
    uint64_t base_tsc, base_us; // us = base_us + (tsc - base_tsc) * us_per_tsc / 2^40
    uint64_t us_per_tsc;
    uint64_t refine_at_us; // when to refine next; 0: done
    bool has_date;
    int64_t epoch_offset_us; // wall clock minus clock_us(), with has_date
} clk;

static sample_t take_sample(void) {
    sample_t best = { 0, UINT64_MAX, 0 };
    for (size_t i = 0; i < SAMPLES; ++i) {
        uint64_t before = rdtsc();
        uint32_t pm = in32(clk.pm_port);
        uint64_t width = rdtsc() - before;
        if (width < best.width) {
            best = (sample_t) { before + width / 2, width, pm & PM_TIMER_MASK };
        }
    }
    return best;
}

static void set_rate(uint64_t tsc_hz) {
    clk.tsc_hz = tsc_hz;
    clk.us_per_tsc = ((unsigned __int128)1000000 << 40) / tsc_hz;
}

static void change_rate(uint64_t tsc_hz) {
    uint64_t now = rdtsc();
    clk.base_us = clock_us();
    clk.base_tsc = now;
    set_rate(tsc_hz);
}

// The TSC's frequency from two samples whose distance is pm_ticks.
static uint64_t tsc_rate(const sample_t *from, const sample_t *to, uint64_t pm_ticks) {
    return (unsigned __int128)(to->tsc - from->tsc) * PM_TIMER_HZ / pm_ticks;
}

static uint8_t cmos_read(uint8_t reg) {
    out8(CMOS_INDEX, reg);
    return in8(CMOS_DATA);
}

static uint64_t cmos_seconds(void) {
    uint8_t fields[7], again[7];
    static const uint8_t regs[7] = { 0x00, 0x02, 0x04, 0x07, 0x08, 0x09, 0x32 };
    // Two equal readings outside an update (register A bit 7) are consistent.
    do {
        while (cmos_read(0x0a) & 0x80) {
        }
        for (size_t i = 0; i < 7; ++i) {
            fields[i] = cmos_read(regs[i]);
        }
        for (size_t i = 0; i < 7; ++i) {
            again[i] = cmos_read(regs[i]);
        }
    } while (memcmp(fields, again, sizeof(fields)) != 0);

    uint8_t mode = cmos_read(0x0b);
    bool pm = fields[2] & 0x80;
    fields[2] &= 0x7f;
    if (!(mode & 0x04)) {
        for (size_t i = 0; i < 7; ++i) {
            fields[i] = (fields[i] >> 4) * 10 + (fields[i] & 0x0f);
        }
    }
    if (!(mode & 0x02)) {
        fields[2] = fields[2] % 12 + (pm ? 12 : 0);
    }
    unsigned century = fields[6] >= 19 && fields[6] <= 99 ? fields[6] : 20;
    return timeutils_seconds_since_epoch(century * 100 + fields[5], fields[4], fields[3], fields[2], fields[1], fields[0]);
}

// A sample, and the LAPIC timer at the same moment: a host that lends the processor to others between
// the two readings would have sleeps last several times too long, so then they are taken again.
static void read_both(sample_t *sample, uint32_t *lapic) {
    for (int tries = 0; tries < 8; ++tries) {
        *sample = take_sample();
        *lapic = lapic_timer_elapsed();
        if (((take_sample().pm - sample->pm) & PM_TIMER_MASK) < FIRST_SPAN_TICKS / 32) {
            break;
        }
    }
}

// The calibration's beginning. It takes a millisecond, which the rest of the port can use.
void clock_begin(void) {
    const struct platform *platform = hob_platform();
    clk.pm_port = platform->pm_base + PM_TIMER_OFFSET;
    clk.base_tsc = platform->tsc_at_reset;
    uint64_t hz = lapic_has_deadline() ? hypervisor_tsc_hz(platform->tsc_hz) : 0;
    clk.told = hz != 0;
    if (clk.told) {
        set_rate(hz);
    } else {
        lapic_timer_free_run();
        read_both(&clk.origin, &clk.lapic_origin);
    }
}

static void calibrate(void) {
    sample_t end;
    uint32_t pm_ticks, lapic;
    do {
        read_both(&end, &lapic);
        pm_ticks = (end.pm - clk.origin.pm) & PM_TIMER_MASK;
    } while (pm_ticks < FIRST_SPAN_TICKS);
    uint64_t lapic_ticks = lapic - clk.lapic_origin;
    lapic_timer_stop();

    clk.lapic_hz = (unsigned __int128)lapic_ticks * PM_TIMER_HZ / pm_ticks;
    set_rate(tsc_rate(&clk.origin, &end, pm_ticks));
    clk.refine_at_us = clock_us() + 100000;
    debugcon_log("INFO", "clock", "TSC %u kHz, LAPIC timer %u kHz", (unsigned)(clk.tsc_hz / 1000),
        (unsigned)(clk.lapic_hz / 1000));
}

void clock_init(void) {
    if (!clk.told) {
        calibrate();
    }
}

// Called after every wait: at 0.1, 1 and 10 s the growing span makes the rate ten times better.
void clock_refine(void) {
    if (clk.refine_at_us == 0 || clock_us() < clk.refine_at_us) {
        return;
    }
    sample_t now = take_sample();
    // The present rate is good enough to tell how often the 24-bit counter has wrapped.
    uint64_t about = (unsigned __int128)(now.tsc - clk.origin.tsc) * PM_TIMER_HZ / clk.tsc_hz;
    uint64_t ticks = (now.pm - clk.origin.pm) & PM_TIMER_MASK;
    ticks += (about - ticks + PM_TIMER_MASK / 2) / (PM_TIMER_MASK + 1) * (PM_TIMER_MASK + 1);
    if (ticks == 0) {
        return;
    }
    uint64_t hz = tsc_rate(&clk.origin, &now, ticks);
    uint64_t span_us = ticks * 1000000 / PM_TIMER_HZ;
    // A correction beyond 2% means that the machine was stopped or moved meanwhile, not that
    // the first calibration was that bad: begin again from here.
    if (hz > clk.tsc_hz + clk.tsc_hz / 50 || hz < clk.tsc_hz - clk.tsc_hz / 50) {
        clk.origin = now;
        clk.refine_at_us = clock_us() + 100000;
        return;
    }
    change_rate(hz);
    clk.refine_at_us = span_us < 10000000 ? clock_us() + span_us * 9 : 0;
}

uint64_t clock_us(void) {
    return clk.base_us + (uint64_t)((unsigned __int128)(rdtsc() - clk.base_tsc) * clk.us_per_tsc >> 40);
}

uint64_t clock_tsc_hz(void) {
    return clk.tsc_hz;
}

static uint64_t ticks(uint64_t us, uint64_t hz) {
    unsigned __int128 ticks = (unsigned __int128)us * hz / 1000000;
    return ticks >> 62 ? (uint64_t)1 << 62 : ticks;
}

uint64_t clock_lapic_ticks(uint64_t us) {
    return ticks(us, clk.lapic_hz);
}

uint64_t clock_tsc_ticks(uint64_t us) {
    return ticks(us, clk.tsc_hz);
}

uint64_t clock_epoch_us(void) {
    if (!clk.has_date) { // it takes 34 accesses to the CMOS clock, each an exit: not for who never asks
        clock_set_epoch_us(cmos_seconds() * 1000000);
    }
    return clock_us() + clk.epoch_offset_us;
}

void clock_set_epoch_us(uint64_t epoch_us) {
    clk.has_date = true;
    clk.epoch_offset_us = epoch_us - clock_us();
}
