# SPDX-License-Identifier: MIT
"""A program for a guest that writes the files of /disk over and over, until QEMU is killed.

First it says what it finds: `found NAME GENERATION SIZE SHA256`. Then it gives each file its next
generation, in the way that the file is named after, and says `synced NAME GENERATION` once that
must not get lost. The host imports `content` and compares.
"""

import hashlib
import os

NAMES = ("closed", "flushed", "synced", "renamed", "appended", "folder/small")
FOLDER = "/disk/"
SIZES = {"appended": 700, "folder/small": 90}  # bytes at most that a generation writes, nearly
SIZE = 12000  # of the others
ROUND = 40  # generations that an appended file grows


def content(name, generation):
    """What the file holds in that generation; nothing before the first."""
    if generation == 0:
        return b""
    data = chunk(name, generation)
    if name == "appended" and generation % ROUND:
        data = content(name, generation - 1) + data
    return data


def chunk(name, generation):
    """What is written for a generation; its number is the last word."""
    word = f"{name} {generation} "
    size = generation * 7919 % SIZES.get(name, SIZE)
    return (word * (size // len(word)) + word).encode()


def generation_of(data):
    """The generation that a file's content says it is of, 0 if it is empty."""
    return int(data.split()[-1]) if data else 0


def say_synced(name, generations):
    """From here on it must not get lost."""
    print("synced", name, generations[name])


def write(names, generations):
    """Give files their next generation, one after the other; say of each when it is synced."""
    if not names:
        return
    name = names[0]
    generations[name] += 1
    path, data = FOLDER + name, chunk(name, generations[name])
    if name in ("flushed", "synced"):
        with open(path, "wb") as file:
            file.write(data)
            file.flush() if name == "flushed" else os.sync()
            say_synced(name, generations)
            write(names[1:], generations)  # it stays open meanwhile
        return
    if name == "renamed":
        with open(path + ".new", "wb") as file:
            file.write(data)
        os.rename(path + ".new", path)
    else:
        more = name == "appended" and generations[name] % ROUND
        with open(path, "ab" if more else "wb") as file:
            file.write(data)
    say_synced(name, generations)
    write(names[1:], generations)


def main():
    """Say what is there, then write for ever."""
    generations = {}
    try:
        os.mkdir(FOLDER + "folder")
    except OSError:
        pass
    for name in NAMES:
        try:
            with open(FOLDER + name, "rb") as file:
                data = file.read()
        except OSError:
            data = b""
        generations[name] = generation_of(data)
        digest = hashlib.sha256(data).digest().hex()
        print("found", name, generations[name], len(data), digest)
    print("all found")
    while True:
        write(NAMES, generations)


if __name__ == "__main__":
    main()
