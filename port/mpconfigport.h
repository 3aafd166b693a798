// SPDX-License-Identifier: MIT
// Options of the bare-metal x86_64 port; they override the defaults in py/mpconfig.h.

#include <stdint.h>
#include <alloca.h>
#include "port/oserror.h"

#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)

#define MICROPY_HW_BOARD_NAME   "QEMU pflash"
#define MICROPY_HW_MCU_NAME     "x86_64"
#define MICROPY_PY_SYS_PLATFORM "x86_64"

// Memory. The heap starts small, because the collector's time grows with it, and doubles on
// demand up to the machine's RAM.
#define MICROPY_ENABLE_GC                      (1)
#define MICROPY_GC_SPLIT_HEAP                  (1)
#define MICROPY_GC_SPLIT_HEAP_AUTO             (1)
#define MICROPY_GC_INITIAL_HEAP_SIZE           (1024 * 1024)
#define MP_PLAT_ALLOC_HEAP(size)               memory_alloc_heap(size)
#define MP_PLAT_FREE_HEAP(ptr)                 memory_free(ptr)
// Objects of one block make the allocator remember where it was; with blocks of 32 bytes, in which few
// objects fit, it began each search at the start of the heap: a socket took 34 us to make, not 8.
#define MICROPY_BYTES_PER_GC_BLOCK             (64)
#define MICROPY_ALLOC_GC_STACK_SIZE            (1024)
#define MICROPY_ALLOC_PATH_MAX                 (256)
#define MICROPY_STACK_CHECK_MARGIN             (16 * 1024)
#define MICROPY_ENABLE_EMERGENCY_EXCEPTION_BUF (1)
#define MICROPY_EMERGENCY_EXCEPTION_BUF_SIZE   (256)

// Emitters. Native code is built in the heap and then committed to pages that are never
// writable and executable at once (nativecode.c).
#define MICROPY_EMIT_X64                     (1)
#define MICROPY_PERSISTENT_CODE_LOAD         (1)
#define MP_PLAT_COMMIT_EXEC(buf, len, reloc) nativecode_commit(buf, len, reloc)

#define MICROPY_OPT_COMPUTED_GOTO           (1)
// port/maplookup.c has a better one.
#define MICROPY_OPT_MAP_LOOKUP_CACHE        (0)
#define MICROPY_WRAP_MP_MAP_LOOKUP(f)       mp_map_search
#define MICROPY_READER_VFS                  (1)
#define MICROPY_LONGINT_IMPL                (MICROPY_LONGINT_IMPL_MPZ)
#define MICROPY_FLOAT_IMPL                  (MICROPY_FLOAT_IMPL_DOUBLE)
#define MICROPY_SCHEDULER_DEPTH             (8)
#define MICROPY_SCHEDULER_STATIC_NODES      (1)
#define MICROPY_USE_INTERNAL_ERRNO          (1)
#define MICROPY_REPL_STDIN_BUFFER_MAX       (4096) // raw-paste window: two of them fit serial.c's ring
#define MICROPY_MALLOC_USES_ALLOCATED_SIZE  (1)
#define MICROPY_MEM_STATS                   (0)
#define MICROPY_ENABLE_SOURCE_LINE          (1)
#define MICROPY_MODULE_OVERRIDE_MAIN_IMPORT (1) // `mpfw run -m`

// Builtins and modules.
#define MICROPY_PORT_BUILTINS                     OSERROR_BUILTINS
#define MICROPY_PY_BUILTINS_HELP_TEXT             x86_64_help_text
#define MICROPY_PY_SYS_EXC_INFO                   (1)
#define MICROPY_PY_DEFLATE_COMPRESS               (1)
#define MICROPY_PY_BUILTINS_MEMORYVIEW_ITEMSIZE   (1)
#define MICROPY_PY_OS_INCLUDEFILE                 "port/modos.c"
#define MICROPY_PY_OS_DUPTERM                     (1)
#define MICROPY_PY_OS_UNAME                       (1)
#define MICROPY_PY_OS_URANDOM                     (1)
#define MICROPY_PY_OS_SYNC                        (1)
#define MICROPY_PY_RANDOM_SEED_INIT_FUNC          (random_seed())
#define MICROPY_PY_RE_MATCH_GROUPS                (1)
#define MICROPY_PY_RE_MATCH_SPAN_START_END        (1)
#define MICROPY_EPOCH_IS_1970                     (1)
#define MICROPY_PY_TIME_GMTIME_LOCALTIME_MKTIME   (1)
#define MICROPY_PY_TIME_TIME_TIME_NS              (1)
#define MICROPY_PY_TIME_INCLUDEFILE               "port/modtime.c"
#define MICROPY_PY_MACHINE                        (1)
#define MICROPY_PY_MACHINE_INCLUDEFILE            "port/modmachine.c"
#define MICROPY_PY_MACHINE_RESET                  (1)
#define MICROPY_PY_MACHINE_BARE_METAL_FUNCS       (1)
#define MICROPY_PY_MACHINE_DISABLE_IRQ_ENABLE_IRQ (1)
#define MICROPY_PY_MACHINE_PIN_BASE               (0)
#define MICROPY_PY_MACHINE_SIGNAL                 (0)
#define MICROPY_VFS                               (1)
#define MICROPY_FATFS_ENABLE_LFN                  (2)
#define MICROPY_FATFS_LFN_CODE_PAGE               437 // pasted into names, so without parentheses
#define MICROPY_FATFS_RPATH                       (2)
#define MICROPY_FATFS_USE_LABEL                   (1)
#define MICROPY_VFS_ROM                           (1)

// What Linux programs expect to find in `errno`.
#define MICROPY_PY_ERRNO_LIST \
    X(EPERM) \
    X(ENOENT) \
    X(ESRCH) \
    X(EINTR) \
    X(EIO) \
    X(EBADF) \
    X(ECHILD) \
    X(EAGAIN) \
    X(ENOMEM) \
    X(EACCES) \
    X(EFAULT) \
    X(EBUSY) \
    X(EEXIST) \
    X(ENODEV) \
    X(ENOTDIR) \
    X(EISDIR) \
    X(EINVAL) \
    X(ENFILE) \
    X(EMFILE) \
    X(ENOTTY) \
    X(EFBIG) \
    X(ENOSPC) \
    X(ESPIPE) \
    X(EROFS) \
    X(EPIPE) \
    X(EDOM) \
    X(ERANGE) \
    X(ENAMETOOLONG) \
    X(ENOSYS) \
    X(ENOTEMPTY) \
    X(ELOOP) \
    X(EPROTO) \
    X(EOVERFLOW) \
    X(ENOTSOCK) \
    X(EDESTADDRREQ) \
    X(EMSGSIZE) \
    X(EPROTOTYPE) \
    X(ENOPROTOOPT) \
    X(EPROTONOSUPPORT) \
    X(ESOCKTNOSUPPORT) \
    X(EOPNOTSUPP) \
    X(EPFNOSUPPORT) \
    X(EAFNOSUPPORT) \
    X(EADDRINUSE) \
    X(EADDRNOTAVAIL) \
    X(ENETDOWN) \
    X(ENETUNREACH) \
    X(ENETRESET) \
    X(ECONNABORTED) \
    X(ECONNRESET) \
    X(ENOBUFS) \
    X(EISCONN) \
    X(ENOTCONN) \
    X(ESHUTDOWN) \
    X(ETIMEDOUT) \
    X(ECONNREFUSED) \
    X(EHOSTDOWN) \
    X(EHOSTUNREACH) \
    X(EALREADY) \
    X(EINPROGRESS) \
    X(ECANCELED)

// Linux numbers that py/mperrno.h has no name for.
#define MP_ENAMETOOLONG    (36)
#define MP_ENOSYS          (38)
#define MP_ENOTEMPTY       (39)
#define MP_ELOOP           (40)
#define MP_EPROTO          (71)
#define MP_EOVERFLOW       (75)
#define MP_ENOTSOCK        (88)
#define MP_EDESTADDRREQ    (89)
#define MP_EMSGSIZE        (90)
#define MP_EPROTOTYPE      (91)
#define MP_ENOPROTOOPT     (92)
#define MP_EPROTONOSUPPORT (93)
#define MP_ESOCKTNOSUPPORT (94)
#define MP_EPFNOSUPPORT    (96)
#define MP_EADDRNOTAVAIL   (99)
#define MP_ENETDOWN        (100)
#define MP_ENETUNREACH     (101)
#define MP_ENETRESET       (102)
#define MP_ESHUTDOWN       (108)
#define MP_EHOSTDOWN       (112)

// libm_dbl has log10, log and log1p; py/modmath.c is told to make log2 of them.
#define MP_NEED_LOG2 (1)

// iter.c and print.c have the builtins with all their arguments.
extern const struct _mp_obj_fun_builtin_var_t mp_builtin_print_obj __attribute__((weak));
extern const struct _mp_obj_fun_builtin_fixed_t mp_builtin_iter_obj __attribute__((weak));

typedef intptr_t mp_int_t;
typedef uintptr_t mp_uint_t;
typedef long mp_off_t;

#define MP_SSIZE_MAX  (INT64_MAX)
#define MP_STATE_PORT MP_STATE_VM

void *memory_alloc_heap(size_t size);
void memory_free(void *base);
void *nativecode_commit(void *buf, size_t len, void *reloc);
uint64_t random_seed(void);
_Bool random_of_cpu(uint64_t *value);
