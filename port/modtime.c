// SPDX-License-Identifier: MIT
// The port's part of the time module; extmod/modtime.c includes it.

#include "shared/timeutils/timeutils.h"

static mp_obj_t mp_time_localtime_get(void) {
    timeutils_struct_time_t tm;
    timeutils_seconds_since_epoch_to_struct_time(clock_epoch_us() / 1000000, &tm);
    mp_obj_t tuple[8] = {
        MP_OBJ_NEW_SMALL_INT(tm.tm_year),
        MP_OBJ_NEW_SMALL_INT(tm.tm_mon),
        MP_OBJ_NEW_SMALL_INT(tm.tm_mday),
        MP_OBJ_NEW_SMALL_INT(tm.tm_hour),
        MP_OBJ_NEW_SMALL_INT(tm.tm_min),
        MP_OBJ_NEW_SMALL_INT(tm.tm_sec),
        MP_OBJ_NEW_SMALL_INT(tm.tm_wday),
        MP_OBJ_NEW_SMALL_INT(tm.tm_yday),
    };
    return mp_obj_new_tuple(8, tuple);
}

// With a fraction, as CPython's: programs measure with it. gmtime() and localtime() take it, below.
static mp_obj_t mp_time_time_get(void) {
    return mp_obj_new_float((mp_float_t)clock_epoch_us() / 1000000);
}

// What extmod/modtime.c takes its arguments with, from here on: its localtime() knows no floats.
static mp_int_t whole_number(mp_obj_t number) {
    return mp_obj_is_float(number) ? (mp_int_t)mp_obj_get_float(number) : mp_obj_get_int(number);
}
#define mp_obj_get_int(number) whole_number(number)

// CPython's monotonic() and perf_counter(): seconds since the start.
static mp_obj_t time_monotonic(void) {
    return mp_obj_new_float((mp_float_t)clock_us() / 1000000);
}
static MP_DEFINE_CONST_FUN_OBJ_0(time_monotonic_obj, time_monotonic);

static mp_obj_t time_monotonic_ns(void) {
    return mp_obj_new_int_from_ull(clock_us() * 1000);
}
static MP_DEFINE_CONST_FUN_OBJ_0(time_monotonic_ns_obj, time_monotonic_ns);

#define MICROPY_PY_TIME_EXTRA_GLOBALS \
    { MP_ROM_QSTR(MP_QSTR_monotonic), MP_ROM_PTR(&time_monotonic_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_monotonic_ns), MP_ROM_PTR(&time_monotonic_ns_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_perf_counter), MP_ROM_PTR(&time_monotonic_obj) }, \
        { MP_ROM_QSTR(MP_QSTR_perf_counter_ns), MP_ROM_PTR(&time_monotonic_ns_obj) },
