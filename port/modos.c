// SPDX-License-Identifier: MIT
// The port's part of the os module; extmod/modos.c includes it. Entropy is the CPU's own
// (RDRAND) where it has it; without it, a TSC-seeded generator that is good for seeding
// simulations and no more.

#include "py/mphal.h"
#include "port/littlefs.h"

// Upstream's os.sync() does this to each FAT volume. Those are in RAM here, where nothing needs it;
// what needs it are files on littlefs.
#define disk_ioctl(volume, command, buffer) os_sync_littlefs()

static void os_sync_littlefs(void) {
    int error = littlefs_sync();
    if (error != 0) {
        mp_raise_OSError(-error);
    }
}

static bool rdrand64(uint64_t *value) {
    if (!(cpuid(1).ecx & (1 << 30))) {
        return false;
    }
    for (int tries = 10; tries > 0; --tries) {
        uint8_t ok;
        __asm__ volatile("rdrand %0; setc %1" : "=r"(*value), "=qm"(ok) : : "cc");
        if (ok) {
            return true;
        }
    }
    return false;
}

uint64_t random_seed(void) {
    static uint64_t state;
    uint64_t value;
    if (rdrand64(&value)) {
        return value;
    }
    // splitmix64 over the TSC
    state += rdtsc() | 1;
    value = (state ^ state >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}

static mp_obj_t mp_os_urandom(mp_obj_t num) {
    mp_int_t n = mp_obj_get_int(num);
    if (n < 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("negative length"));
    }
    vstr_t vstr;
    vstr_init_len(&vstr, n);
    for (mp_int_t i = 0; i < n; i += sizeof(uint64_t)) {
        uint64_t value = random_seed();
        memcpy(vstr.buf + i, &value, MIN(sizeof(value), (size_t)(n - i)));
    }
    return mp_obj_new_bytes_from_vstr(&vstr);
}
static MP_DEFINE_CONST_FUN_OBJ_1(mp_os_urandom_obj, mp_os_urandom);
