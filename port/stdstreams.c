// SPDX-License-Identifier: MIT
// sys.stdin, stdout and stderr, with their .buffer: on the console, or on streams that
// machine.stdio() puts in their place, whose bytes pass as they are. In place of upstream's
// shared/runtime/sys_stdio_mphal.c, because CPython's files have fileno() and flush(), and a
// program that asks a standard stream for them should get its answer here too.

#include <string.h>
#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "port/stdstreams.h"

enum {
    STDIN_FILENO,
    STDOUT_FILENO,
    STDERR_FILENO,
};

typedef struct _sys_stdio_obj_t {
    mp_obj_base_t base;
    uint8_t fd;
    const struct _sys_stdio_obj_t *buffer; // the binary stream behind a text stream
} sys_stdio_obj_t;

#define N_STREAMS   (3)
#define BUFFER_SIZE (8192)  // what is gathered before a stream in Python is called
#define LINGER_US   (10000) // how long it may stay here while the program computes

// What machine.stdio() put in the places of the three; MP_OBJ_NULL or None: the console.
MP_REGISTER_ROOT_POINTER(mp_obj_t stdio_stream[3]);

// Bytes on their way: of stdin, those from start to end are still to be read, of the others those
// are still to be written.
typedef struct _stdio_buffer_t {
    size_t start, end;
    byte data[BUFFER_SIZE];
} stdio_buffer_t;

static stdio_buffer_t buffers[N_STREAMS];
static bool flushing; // a stream in Python runs, whose own waits must not come here again
static mp_sched_node_t late_node;
static int late_error; // errno of a write in flush_late(), for the next one to raise

static mp_obj_t replacement(size_t fd) {
    mp_obj_t stream = MP_STATE_PORT(stdio_stream)[fd];
    return stream == MP_OBJ_NULL || stream == mp_const_none ? MP_OBJ_NULL : stream;
}

// Writes all of it to a stream in Python; OSError if that fails.
static void write_through(size_t fd, const byte *data, size_t size) {
    mp_obj_t stream = replacement(fd);
    nlr_buf_t nlr;
    flushing = true;
    if (nlr_push(&nlr) != 0) {
        flushing = false;
        nlr_jump(nlr.ret_val);
    }
    int errcode = 0;
    if (stream != MP_OBJ_NULL) {
        mp_stream_rw(stream, (void *)data, size, &errcode, MP_STREAM_RW_WRITE);
    }
    nlr_pop();
    flushing = false;
    if (errcode != 0) {
        mp_raise_OSError(errcode);
    }
}

static void flush(size_t fd) {
    if (fd == STDERR_FILENO) {
        flush(STDOUT_FILENO); // whoever sees both sees them in their order
    }
    stdio_buffer_t *buffer = &buffers[fd];
    size_t size = buffer->end;
    if (size != 0 && !flushing) {
        buffer->end = 0; // also if writing fails: it is not tried again
        write_through(fd, buffer->data, size);
    }
}

void stdio_flush(void) {
    flush(STDERR_FILENO);
}

// A failure belongs to who writes next, not to whatever the program does at this moment.
static void flush_late(mp_sched_node_t *node) {
    (void)node;
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        stdio_flush();
        nlr_pop();
        return;
    }
    mp_obj_t raised = MP_OBJ_FROM_PTR(nlr.ret_val);
    if (!mp_obj_exception_match(raised, MP_OBJ_FROM_PTR(&mp_type_OSError))) {
        nlr_jump(nlr.ret_val); // Ctrl-C
    }
    late_error = mp_obj_get_int(mp_obj_exception_get_value(raised));
}

void stdio_linger_is_over(void) {
    mp_sched_schedule_node(&late_node, flush_late);
}

// The stream's own flush, which returns once the bytes are out of our hands.
static mp_uint_t flush_whole(size_t fd, int *errcode) {
    flush(fd);
    mp_obj_t stream = replacement(fd);
    return stream == MP_OBJ_NULL ? 0 : mp_get_stream(stream)->ioctl(stream, MP_STREAM_FLUSH, 0, errcode);
}

void stdio_finish(void) {
    for (size_t fd = STDOUT_FILENO; fd < N_STREAMS; ++fd) {
        nlr_buf_t nlr;
        if (nlr_push(&nlr) == 0) {
            int errcode;
            flush_whole(fd, &errcode);
            nlr_pop();
        }
    }
}

void stdio_init(void) {
    memset(MP_STATE_PORT(stdio_stream), 0, sizeof(MP_STATE_PORT(stdio_stream)));
    for (size_t fd = 0; fd < N_STREAMS; ++fd) {
        buffers[fd].start = buffers[fd].end = 0;
    }
    flushing = false;
    late_error = 0;
}

void stdio_replace(size_t fd, mp_obj_t stream) {
    if (fd != STDIN_FILENO) {
        flush(fd);
    }
    if (stream != mp_const_none) {
        mp_get_stream_raise(stream, fd == STDIN_FILENO ? MP_STREAM_OP_READ : MP_STREAM_OP_WRITE);
    }
    buffers[fd].start = buffers[fd].end = 0;
    MP_STATE_PORT(stdio_stream)[fd] = stream;
}

// Gathers what is small; what is large goes through at once.
static void gather(size_t fd, const byte *data, size_t size) {
    stdio_buffer_t *buffer = &buffers[fd];
    if (late_error != 0) {
        int error = late_error;
        late_error = 0;
        mp_raise_OSError(error);
    }
    if (buffer->end + size > BUFFER_SIZE) {
        flush(fd);
    }
    if (size >= BUFFER_SIZE) {
        flush(fd);
        write_through(fd, data, size);
        return;
    }
    if (buffer->end == 0) {
        mp_hal_set_linger_us(LINGER_US);
    }
    memcpy(buffer->data + buffer->end, data, size);
    buffer->end += size;
    // What went wrong should be seen even if nothing comes after it.
    if (fd == STDERR_FILENO && memchr(data, '\n', size) != NULL) {
        flush(fd);
    }
}

// Copies what has been read ahead, at most size bytes; how many.
static size_t read_buffer(stdio_buffer_t *buffer, byte *into, size_t size) {
    size_t n = MIN(size, buffer->end - buffer->start);
    memcpy(into, buffer->data + buffer->start, n);
    buffer->start += n;
    return n;
}

// Has a stream in Python fill a buffer; what it wrote, 0 at its end.
static mp_uint_t read_ahead(mp_obj_t stream, byte *into) {
    nlr_buf_t nlr;
    flushing = true;
    if (nlr_push(&nlr) != 0) {
        flushing = false;
        nlr_jump(nlr.ret_val);
    }
    int errcode = 0;
    mp_uint_t got = mp_get_stream(stream)->read(stream, into, BUFFER_SIZE, &errcode);
    nlr_pop();
    flushing = false;
    if (got == MP_STREAM_ERROR) {
        mp_raise_OSError(errcode);
    }
    return got;
}

// Fills `into` from a stream in Python, less only at its end.
static size_t read_through(mp_obj_t stream, byte *into, size_t size) {
    stdio_buffer_t *buffer = &buffers[STDIN_FILENO];
    size_t done = 0;
    while (done < size) {
        if (buffer->start == buffer->end) {
            stdio_flush();
            mp_uint_t got = read_ahead(stream, buffer->data);
            buffer->start = 0;
            buffer->end = got;
            if (got == 0) {
                break;
            }
        }
        done += read_buffer(buffer, into + done, size - done);
    }
    return done;
}

static void stdio_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    (void)kind;
    sys_stdio_obj_t *self = MP_OBJ_TO_PTR(self_in);
    mp_printf(print, "<io.%s %d>", mp_obj_get_type_str(self_in), self->fd);
}

// Waits until all of size has come, as on all ports. The console's Enter is a carriage return, which
// text has as a newline; what replaces it passes bytes as they are, as CPython's text does on Linux.
static mp_uint_t stdio_read(mp_obj_t self_in, void *buf, mp_uint_t size, int *errcode) {
    sys_stdio_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->fd != STDIN_FILENO) {
        *errcode = MP_EPERM;
        return MP_STREAM_ERROR;
    }
    mp_obj_t stream = replacement(STDIN_FILENO);
    if (stream != MP_OBJ_NULL) {
        return read_through(stream, buf, size);
    }
    for (size_t i = 0; i < size; i++) {
        int c = mp_hal_stdin_rx_chr();
        ((byte *)buf)[i] = self->buffer != NULL && c == '\r' ? '\n' : c;
    }
    return size;
}

static mp_uint_t stdio_write(mp_obj_t self_in, const void *buf, mp_uint_t size, int *errcode) {
    sys_stdio_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->fd == STDIN_FILENO) {
        *errcode = MP_EPERM;
        return MP_STREAM_ERROR;
    }
    if (replacement(self->fd) != MP_OBJ_NULL) {
        gather(self->fd, buf, size);
    } else if (self->buffer != NULL) {
        mp_hal_stdout_tx_strn_cooked(buf, size);
    } else {
        mp_hal_stdout_tx_strn(buf, size);
    }
    return size;
}

static mp_uint_t poll(size_t fd, mp_uint_t flags, int *errcode) {
    mp_obj_t stream = replacement(fd);
    if (stream == MP_OBJ_NULL) {
        return mp_hal_stdio_poll(flags);
    }
    if (fd == STDIN_FILENO && buffers[fd].start != buffers[fd].end) {
        return flags & (MP_STREAM_POLL_RD | MP_STREAM_POLL_WR);
    }
    return mp_get_stream(stream)->ioctl(stream, MP_STREAM_POLL, flags, errcode);
}

static mp_uint_t stdio_ioctl(mp_obj_t self_in, mp_uint_t request, uintptr_t arg, int *errcode) {
    sys_stdio_obj_t *self = MP_OBJ_TO_PTR(self_in);
    switch (request) {
        case MP_STREAM_POLL:
            return poll(self->fd, arg, errcode);
        case MP_STREAM_FLUSH:
            return self->fd == STDIN_FILENO ? 0 : flush_whole(self->fd, errcode);
        case MP_STREAM_CLOSE:
            return 0;
        case MP_STREAM_GET_FILENO:
            return self->fd;
        default:
            *errcode = MP_EINVAL;
            return MP_STREAM_ERROR;
    }
}

static mp_obj_t stdio_fileno(mp_obj_t self_in) {
    sys_stdio_obj_t *self = MP_OBJ_TO_PTR(self_in);
    return MP_OBJ_NEW_SMALL_INT(self->fd);
}
static MP_DEFINE_CONST_FUN_OBJ_1(stdio_fileno_obj, stdio_fileno);

// Only the console is a terminal.
static mp_obj_t stdio_isatty(mp_obj_t self_in) {
    sys_stdio_obj_t *self = MP_OBJ_TO_PTR(self_in);
    return mp_obj_new_bool(replacement(self->fd) == MP_OBJ_NULL);
}
static MP_DEFINE_CONST_FUN_OBJ_1(stdio_isatty_obj, stdio_isatty);

static const mp_rom_map_elem_t stdio_locals_dict_table[] = {
    { MP_ROM_QSTR(MP_QSTR_fileno), MP_ROM_PTR(&stdio_fileno_obj) },
    { MP_ROM_QSTR(MP_QSTR_isatty), MP_ROM_PTR(&stdio_isatty_obj) },
    { MP_ROM_QSTR(MP_QSTR_read), MP_ROM_PTR(&mp_stream_read_obj) },
    { MP_ROM_QSTR(MP_QSTR_readinto), MP_ROM_PTR(&mp_stream_readinto_obj) },
    { MP_ROM_QSTR(MP_QSTR_readline), MP_ROM_PTR(&mp_stream_unbuffered_readline_obj) },
    { MP_ROM_QSTR(MP_QSTR_readlines), MP_ROM_PTR(&mp_stream_unbuffered_readlines_obj) },
    { MP_ROM_QSTR(MP_QSTR_write), MP_ROM_PTR(&mp_stream_write_obj) },
    { MP_ROM_QSTR(MP_QSTR_flush), MP_ROM_PTR(&mp_stream_flush_obj) },
    { MP_ROM_QSTR(MP_QSTR_close), MP_ROM_PTR(&mp_identity_obj) },
    { MP_ROM_QSTR(MP_QSTR___enter__), MP_ROM_PTR(&mp_identity_obj) },
    { MP_ROM_QSTR(MP_QSTR___exit__), MP_ROM_PTR(&mp_stream___exit___obj) },
};
static MP_DEFINE_CONST_DICT(stdio_locals_dict, stdio_locals_dict_table);

static void stdio_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    sys_stdio_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (dest[0] == MP_OBJ_NULL && attr == MP_QSTR_buffer && self->buffer != NULL) {
        dest[0] = MP_OBJ_FROM_PTR(self->buffer);
    } else {
        dest[1] = MP_OBJ_SENTINEL; // go on in locals_dict
    }
}

static const mp_stream_p_t stdio_text_stream_p = {
    .read = stdio_read,
    .write = stdio_write,
    .ioctl = stdio_ioctl,
    .is_text = true,
};

static const mp_stream_p_t stdio_binary_stream_p = {
    .read = stdio_read,
    .write = stdio_write,
    .ioctl = stdio_ioctl,
};

static MP_DEFINE_CONST_OBJ_TYPE(
    stdio_text_type,
    MP_QSTR_TextIOWrapper,
    MP_TYPE_FLAG_ITER_IS_STREAM,
    print, stdio_print,
    attr, stdio_attr,
    protocol, &stdio_text_stream_p,
    locals_dict, &stdio_locals_dict);

static MP_DEFINE_CONST_OBJ_TYPE(
    stdio_binary_type,
    MP_QSTR_FileIO,
    MP_TYPE_FLAG_ITER_IS_STREAM,
    print, stdio_print,
    protocol, &stdio_binary_stream_p,
    locals_dict, &stdio_locals_dict);

static const sys_stdio_obj_t stdin_buffer_obj = { { &stdio_binary_type }, STDIN_FILENO, NULL };
static const sys_stdio_obj_t stdout_buffer_obj = { { &stdio_binary_type }, STDOUT_FILENO, NULL };
static const sys_stdio_obj_t stderr_buffer_obj = { { &stdio_binary_type }, STDERR_FILENO, NULL };

// py/modsys.c and print.c know these by name.
const sys_stdio_obj_t mp_sys_stdin_obj = { { &stdio_text_type }, STDIN_FILENO, &stdin_buffer_obj };
const sys_stdio_obj_t mp_sys_stdout_obj = { { &stdio_text_type }, STDOUT_FILENO, &stdout_buffer_obj };
const sys_stdio_obj_t mp_sys_stderr_obj = { { &stdio_text_type }, STDERR_FILENO, &stderr_buffer_obj };
