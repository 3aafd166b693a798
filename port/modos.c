// SPDX-License-Identifier: MIT
// The port's part of the os module; extmod/modos.c includes it. Random numbers are the CPU's own
// (RDRAND, RDSEED), or else a device's, which mpy_modules/_entropy.py reads. Without either they are
// made of the time stamp counter, which is good for simulations and no more, and the log says so.

#include "py/mphal.h"
#include "port/cpu.h"
#include "port/debugcon.h"
#include "port/littlefs.h"

// Upstream's os.sync() does this to each FAT volume. Those are in RAM here, where nothing needs it;
// what needs it are files on littlefs.
#define disk_ioctl(volume, command, buffer) os_sync_littlefs()

#define RANDOM_TRIES (32) // RDSEED has nothing now and then

static void os_sync_littlefs(void) {
    int error = littlefs_sync();
    if (error != 0) {
        mp_raise_OSError(-error);
    }
}

// From the CPU; false if it has no generator, or one that does not work.
bool random_of_cpu(uint64_t *value) {
    static bool asked, rdrand, rdseed;
    if (!asked) {
        asked = true;
        rdrand = cpuid(1).ecx & (1 << 30);
        rdseed = cpuid(0).eax >= 7 && (cpuid(7).ebx & (1 << 18));
    }
    for (int tries = rdrand || rdseed ? RANDOM_TRIES : 0; tries > 0; --tries) {
        uint8_t ok;
        if (rdrand) {
            __asm__ volatile("rdrand %0; setc %1" : "=r"(*value), "=qm"(ok) : : "cc");
        } else {
            __asm__ volatile("rdseed %0; setc %1" : "=r"(*value), "=qm"(ok) : : "cc");
        }
        if (ok && *value != UINT64_MAX) { // which is all that broken ones give
            return true;
        }
        cpu_pause();
    }
    return false;
}

// From a device, through Python; false if there is none, or it does not work.
static bool random_of_device(uint8_t *to, size_t n) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr) != 0) {
        mp_obj_t type = MP_OBJ_FROM_PTR(((mp_obj_base_t *)nlr.ret_val)->type);
        if (!mp_obj_is_subclass_fast(type, MP_OBJ_FROM_PTR(&mp_type_Exception))) {
            nlr_jump(nlr.ret_val); // Ctrl-C
        }
        return false;
    }
    mp_obj_t call[3];
    mp_load_method(mp_import_name(MP_QSTR__entropy, mp_const_none, MP_OBJ_NEW_SMALL_INT(0)), MP_QSTR_read, call);
    call[2] = mp_obj_new_int_from_uint(n);
    mp_buffer_info_t read;
    bool got = mp_get_buffer(mp_call_method_n_kw(1, 0, call), &read, MP_BUFFER_READ) && read.len == n;
    if (got) {
        memcpy(to, read.buf, n);
    }
    nlr_pop();
    return got;
}

// splitmix64 over the time stamp counter.
static uint64_t random_of_clock(void) {
    static uint64_t state;
    static bool told;
    if (!told) {
        told = true;
        debugcon_log("WARNING", "os",
            "random numbers can be guessed: this machine has no RDRAND, RDSEED or virtio-rng; "
            "-cpu max or -device virtio-rng-pci adds one");
    }
    state += rdtsc() | 1;
    uint64_t value = (state ^ state >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}

static void random_fill(uint8_t *to, size_t n) {
    bool asked = false;
    while (n > 0) {
        uint64_t value;
        if (!random_of_cpu(&value)) {
            if (!asked && random_of_device(to, n)) {
                return;
            }
            asked = true;
            value = random_of_clock();
        }
        size_t part = MIN(n, sizeof(value));
        memcpy(to, &value, part);
        to += part;
        n -= part;
    }
}

// What the module random begins with.
uint64_t random_seed(void) {
    uint64_t value;
    random_fill((uint8_t *)&value, sizeof(value));
    return value;
}

static mp_obj_t mp_os_urandom(mp_obj_t num) {
    mp_int_t n = mp_obj_get_int(num);
    if (n < 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("negative argument not allowed"));
    }
    vstr_t vstr;
    vstr_init_len(&vstr, n);
    random_fill((uint8_t *)vstr.buf, n);
    return mp_obj_new_bytes_from_vstr(&vstr);
}
static MP_DEFINE_CONST_FUN_OBJ_1(mp_os_urandom_obj, mp_os_urandom);
