# SPDX-License-Identifier: MIT
"""What Linux users do with makefile(): lines, requests and answers, print, json, struct."""

import json


def alone_lines_of_a_peer(port):
    one, other = pair(port)
    one.sendall(b"first\nsecond\n\nlast without end")
    one.shutdown(socket.SHUT_WR)
    with other.makefile() as lines:
        for line in lines:
            print(repr(line))
        print(repr(lines.readline()), repr(lines.read()))


def alone_request_and_answer(port):
    one, other = pair(port)
    asking, answering = one.makefile("rw"), other.makefile("rw")
    for word in ("hello", "zwölf", "bye"):
        asking.write(word + "\n")
        asking.flush()
        got = answering.readline()
        answering.write(got.upper())
        answering.flush()
        print(asking.readline() == word.upper() + "\n")


def alone_bytes_both_ways(port):
    one, other = pair(port)
    asking, answering = one.makefile("rwb"), other.makefile("rwb")
    print(asking.write(b"PUT 5\r\nabcde"))
    asking.flush()
    verb, size = answering.readline().split()
    print(verb, answering.read(int(size)))


def alone_print_to_a_file(port):
    one, other = pair(port)
    with one.makefile("w") as out:
        print("a", 1, [2], file=out)
        print("b", end="", file=out)
    one.close()
    with other.makefile("r") as got:
        print(repr(got.read()))


def alone_json_lines(port):
    one, other = pair(port)
    with one.makefile("w") as out:
        for thing in ({"n": 1}, [1, 2, None], "text"):
            out.write(json.dumps(thing) + "\n")
    one.close()
    print([json.loads(line) for line in other.makefile("r")])


def alone_json_load(port):
    one, other = pair(port)
    with one.makefile("w") as out:
        json.dump({"key": [1, 2.5, "x", True]}, out)
    one.close()
    with other.makefile("r") as got:
        found = json.load(got)
    print(found["key"])


def alone_struct_from_a_file(port):
    one, other = pair(port)
    one.sendall(struct.pack("!HI", 7, 3) + b"xyz")
    with other.makefile("rb") as got:
        kind, size = struct.unpack("!HI", got.read(6))
        print(kind, size, got.read(size))


def alone_modes(port):
    one, _ = pair(port)
    for mode in ("r", "w", "rw", "rb", "wb", "rwb", "b", ""):
        file = one.makefile(mode)
        print(mode, file.readable(), file.writable(), file.seekable(), file.closed)
        file.close()
        print(file.closed)
    for mode in ("a", "x", "r+", "rt"):
        tell("mode", one.makefile, mode)


def alone_wrong_direction(port):
    one, _ = pair(port)
    reader, writer = one.makefile("rb"), one.makefile("wb")
    for call, *arguments in ((reader.write, b"x"), (writer.read, 1), (writer.readline,)):
        try:
            call(*arguments)
            print("worked")
        except (OSError, ValueError, AttributeError) as failure:
            print(isinstance(failure, (OSError, ValueError)))
    texts = one.makefile("w")
    tell("bytes into text", texts.write, b"x")
    tell("text into bytes", writer.write, "x")


def alone_after_close(port):
    one, _ = pair(port)
    file = one.makefile("rwb")
    file.close()
    file.close()
    tell("read", file.read, 1)
    tell("readline", file.readline)
    tell("write", file.write, b"x")
    tell("flush", file.flush)
    tell("socket", one.send, b"x")
    one.close()
    print(one.makefile() is not None)


def alone_socket_closed_first(port):
    one, other = pair(port)
    file = one.makefile("rwb")
    one.close()
    print(file.write(b"still"))
    file.flush()
    tell("recv", other.recv, 10)
    other.sendall(b"answer\n")
    print(file.readline())
    file.close()
    settle()
    tell("end", other.recv, 10)


def alone_unbuffered(port):
    one, other = pair(port)
    one.sendall(b"0123456789")
    raw = other.makefile("rb", 0)
    print(raw.read(4))
    buffer = bytearray(4)
    print(raw.readinto(buffer), bytes(buffer))
    writing = other.makefile("wb", buffering=0)
    print(writing.write(b"now"))
    tell("recv", one.recv, 10)
    tell("text", one.makefile, "r", 0)


def alone_readinto(port):
    one, other = pair(port)
    one.sendall(b"0123456789")
    with other.makefile("rb") as file:
        buffer = bytearray(6)
        print(file.readinto(buffer), bytes(buffer))
        view = memoryview(buffer)
        print(file.readinto(view[1:3]), bytes(buffer))
        one.close()
        print(file.readinto(buffer), bytes(buffer[:2]), file.readinto(buffer))


def alone_newlines(port):
    one, other = pair(port)
    one.sendall(b"dos\r\nmac\runix\n")
    one.close()
    with other.makefile("r") as file:
        print([repr(line) for line in file])


def alone_newlines_kept(port):
    one, other = pair(port)
    one.sendall(b"dos\r\nunix\n")
    one.close()
    with other.makefile("r", newline="") as file:
        print([repr(line) for line in file])


def alone_newlines_written(port):
    one, other = pair(port)
    with one.makefile("w", newline="\r\n") as file:
        file.write("a\nb\n")
    tell("recv", other.recv, 20)


def alone_limited_lines(port):
    one, other = pair(port)
    one.sendall(b"abcdefgh\nij\n")
    one.close()
    with other.makefile("rb") as file:
        print(file.readline(3), file.readline(100), file.readline(1), file.readlines())


def alone_read_variants(port):
    one, other = pair(port)
    one.sendall(b"0123456789abcdef")
    one.close()
    with other.makefile("rb") as file:
        print(file.read(0), file.read(3), file.read1(2), file.peek(1)[:1], file.read(None))
        print(file.read(), file.read(5), file.read1(5))


def alone_writelines(port):
    one, other = pair(port)
    with one.makefile("w") as file:
        print(file.writelines(["a\n", "b\n"]))
    with one.makefile("wb") as file:
        file.writelines([b"c", bytearray(b"d"), memoryview(b"e")])
    tell("recv", other.recv, 20)


def alone_time_out(port):
    one, other = pair(port)
    other.settimeout(0.05)
    one.sendall(b"no newline")
    file = other.makefile("rb")
    tell("readline", file.readline)
    try:
        file.readline()
    except OSError as failure:
        print(type(failure).__name__, failure)


def alone_names_of_files(port):
    one, _ = pair(port)
    with one.makefile("rb") as file:
        print(file.fileno() == one.fileno(), file.name == one.fileno(), file.mode)
    with one.makefile("w", encoding="utf-8") as file:
        print(file.encoding, file.fileno() == one.fileno())


def alone_encodings(port):
    one, other = pair(port)
    one.sendall(b"gr\xc3\xbc\xc3\x9fe\n")
    file = other.makefile("r", encoding="utf-8")
    print(file.readline() == "grüße\n")
    one.sendall(b"\xff\n")
    try:
        file.readline()
    except ValueError as failure:
        print(isinstance(failure, UnicodeError))


def alone_errors_replaced(port):
    one, other = pair(port)
    one.sendall(b"a\xffb\n")
    one.close()
    with other.makefile("r", encoding="utf-8", errors="replace") as file:
        print(file.read() == "a\ufffdb\n")


def alone_characters(port):
    one, other = pair(port)
    one.sendall("äöü€😀x".encode())
    one.close()
    with other.makefile("r", encoding="utf-8") as file:
        print([file.read(n) for n in (1, 2, 1, 1, 1, 1)] == ["ä", "öü", "€", "😀", "x", ""])


def alone_seeking(port):
    one, _ = pair(port)
    with one.makefile("rb") as file:
        for call in (file.tell, lambda: file.seek(0)):
            try:
                call()
            except (OSError, ValueError, AttributeError) as failure:
                print(isinstance(failure, OSError))
        print(file.isatty())
