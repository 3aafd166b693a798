// SPDX-License-Identifier: MIT
// What Linux's C library says of an error number: OSError's strerror, and so os.strerror.

#include "port/strerror.h"

#include "py/mperrno.h"
#include "py/objstr.h"

#define TEXT(number, text) \
    { \
        number, { \
            { &mp_type_str }, 0, sizeof(text) - 1, (const byte *)text \
        } \
    }

static const struct {
    mp_int_t number;
    mp_obj_str_t text;
} texts[] = {
    TEXT(0, "Success"),
    TEXT(MP_EPERM, "Operation not permitted"),
    TEXT(MP_ENOENT, "No such file or directory"),
    TEXT(MP_ESRCH, "No such process"),
    TEXT(MP_EINTR, "Interrupted system call"),
    TEXT(MP_EIO, "Input/output error"),
    TEXT(MP_EBADF, "Bad file descriptor"),
    TEXT(MP_ECHILD, "No child processes"),
    TEXT(MP_EAGAIN, "Resource temporarily unavailable"),
    TEXT(MP_ENOMEM, "Cannot allocate memory"),
    TEXT(MP_EACCES, "Permission denied"),
    TEXT(MP_EFAULT, "Bad address"),
    TEXT(MP_EBUSY, "Device or resource busy"),
    TEXT(MP_EEXIST, "File exists"),
    TEXT(MP_ENODEV, "No such device"),
    TEXT(MP_ENOTDIR, "Not a directory"),
    TEXT(MP_EISDIR, "Is a directory"),
    TEXT(MP_EINVAL, "Invalid argument"),
    TEXT(MP_ENFILE, "Too many open files in system"),
    TEXT(MP_EMFILE, "Too many open files"),
    TEXT(MP_ENOTTY, "Inappropriate ioctl for device"),
    TEXT(MP_EFBIG, "File too large"),
    TEXT(MP_ENOSPC, "No space left on device"),
    TEXT(MP_ESPIPE, "Illegal seek"),
    TEXT(MP_EROFS, "Read-only file system"),
    TEXT(MP_EPIPE, "Broken pipe"),
    TEXT(MP_EDOM, "Numerical argument out of domain"),
    TEXT(MP_ERANGE, "Numerical result out of range"),
    TEXT(MP_ENAMETOOLONG, "File name too long"),
    TEXT(MP_ENOSYS, "Function not implemented"),
    TEXT(MP_ENOTEMPTY, "Directory not empty"),
    TEXT(MP_ELOOP, "Too many levels of symbolic links"),
    TEXT(MP_EPROTO, "Protocol error"),
    TEXT(MP_EOVERFLOW, "Value too large for defined data type"),
    TEXT(MP_ENOTSOCK, "Socket operation on non-socket"),
    TEXT(MP_EDESTADDRREQ, "Destination address required"),
    TEXT(MP_EMSGSIZE, "Message too long"),
    TEXT(MP_EPROTOTYPE, "Protocol wrong type for socket"),
    TEXT(MP_ENOPROTOOPT, "Protocol not available"),
    TEXT(MP_EPROTONOSUPPORT, "Protocol not supported"),
    TEXT(MP_ESOCKTNOSUPPORT, "Socket type not supported"),
    TEXT(MP_EOPNOTSUPP, "Operation not supported"),
    TEXT(MP_EPFNOSUPPORT, "Protocol family not supported"),
    TEXT(MP_EAFNOSUPPORT, "Address family not supported by protocol"),
    TEXT(MP_EADDRINUSE, "Address already in use"),
    TEXT(MP_EADDRNOTAVAIL, "Cannot assign requested address"),
    TEXT(MP_ENETDOWN, "Network is down"),
    TEXT(MP_ENETUNREACH, "Network is unreachable"),
    TEXT(MP_ENETRESET, "Network dropped connection on reset"),
    TEXT(MP_ECONNABORTED, "Software caused connection abort"),
    TEXT(MP_ECONNRESET, "Connection reset by peer"),
    TEXT(MP_ENOBUFS, "No buffer space available"),
    TEXT(MP_EISCONN, "Transport endpoint is already connected"),
    TEXT(MP_ENOTCONN, "Transport endpoint is not connected"),
    TEXT(MP_ESHUTDOWN, "Cannot send after transport endpoint shutdown"),
    TEXT(MP_ETIMEDOUT, "Connection timed out"),
    TEXT(MP_ECONNREFUSED, "Connection refused"),
    TEXT(MP_EHOSTDOWN, "Host is down"),
    TEXT(MP_EHOSTUNREACH, "No route to host"),
    TEXT(MP_EALREADY, "Operation already in progress"),
    TEXT(MP_EINPROGRESS, "Operation now in progress"),
    TEXT(MP_ECANCELED, "Operation canceled"),
};

mp_obj_t strerror_text(mp_int_t number) {
    for (size_t i = 0; i < MP_ARRAY_SIZE(texts); i++) {
        if (texts[i].number == number) {
            return MP_OBJ_FROM_PTR(&texts[i].text);
        }
    }
    return mp_const_none;
}
