// SPDX-License-Identifier: MIT
// OSError's subclasses; see oserror.c. py/mpconfig.h includes this before it knows a type.
#ifndef PORT_OSERROR_H
#define PORT_OSERROR_H

// X(class, its parent), parents first.
#define OSERROR_SUBCLASSES(X) \
    X(BlockingIOError, OSError) \
    X(ChildProcessError, OSError) \
    X(ConnectionError, OSError) \
    X(BrokenPipeError, ConnectionError) \
    X(ConnectionAbortedError, ConnectionError) \
    X(ConnectionRefusedError, ConnectionError) \
    X(ConnectionResetError, ConnectionError) \
    X(FileExistsError, OSError) \
    X(FileNotFoundError, OSError) \
    X(InterruptedError, OSError) \
    X(IsADirectoryError, OSError) \
    X(NotADirectoryError, OSError) \
    X(PermissionError, OSError) \
    X(ProcessLookupError, OSError) \
    X(TimeoutError, OSError)

#define OSERROR_DECLARE(name, parent) extern const struct _mp_obj_type_t mp_type_##name;
OSERROR_SUBCLASSES(OSERROR_DECLARE)

#define OSERROR_BUILTIN(name, parent) { MP_ROM_QSTR(MP_QSTR_##name), MP_ROM_PTR(&mp_type_##name) },
#define OSERROR_BUILTINS \
    OSERROR_SUBCLASSES(OSERROR_BUILTIN) { MP_ROM_QSTR(MP_QSTR_EnvironmentError), MP_ROM_PTR(&mp_type_OSError) }, \
        { MP_ROM_QSTR(MP_QSTR_IOError), MP_ROM_PTR(&mp_type_OSError) },

#endif // PORT_OSERROR_H
