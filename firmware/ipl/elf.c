// SPDX-License-Identifier: MIT
// Loads the payload (System V ABI, ELF-64). Its checksum has been verified before; this checks that it is something
// that can be run here: every address and size is bounded before it is used. Compiles for the build machine too.

#include "elf.h"

#include <stddef.h>

#include "memory.h"

#define PAGE     0x1000ull
#define FOUR_GIB 0x100000000ull

#define ELF_MAGIC    0x464C457F // "\x7fELF"
#define ELF_CLASS_64 2
#define ELF_LITTLE   1
#define ELF_EXEC     2
#define ELF_X86_64   62
#define PT_LOAD      1
#define PT_INTERP    3
#define PF_X         1
#define PF_W         2

struct elf_header {
    uint32_t magic;
    uint8_t class, data, version, abi, abi_version, pad[7];
    uint16_t type, machine;
    uint32_t object_version;
    uint64_t entry, phoff, shoff;
    uint32_t flags;
    uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf_segment {
    uint32_t type, flags;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

static const struct elf_segment *segment_at(const struct section *file, uint32_t index) {
    const struct elf_header *header = (const void *)file->data;
    return (const void *)(file->data + header->phoff + index * sizeof(struct elf_segment));
}

static const char *check_header(const struct section *file) {
    const struct elf_header *header = (const void *)file->data;
    if (file->size < sizeof(*header) || header->magic != ELF_MAGIC) {
        return "ELF header: not an ELF";
    }
    if (header->class != ELF_CLASS_64 || header->data != ELF_LITTLE || header->machine != ELF_X86_64
        || header->type != ELF_EXEC) {
        return "ELF header: not a static x86-64 executable";
    }
    if (header->phentsize != sizeof(struct elf_segment) || header->phoff > file->size
        || header->phnum > (file->size - header->phoff) / sizeof(struct elf_segment)) {
        return "ELF header: segment table outside the file";
    }
    return NULL;
}

static const char *check_segment(const struct section *file, const struct elf_segment *s, struct image *image) {
    uint64_t lowest = image->segments ? image->segment[image->segments - 1].range.end : PAYLOAD_BASE;
    if (s->offset > file->size || s->filesz > file->size - s->offset || s->filesz > s->memsz) {
        return "ELF segment: outside the file";
    }
    if (s->vaddr % PAGE || s->vaddr < lowest || s->vaddr > FOUR_GIB || s->memsz > FOUR_GIB - s->vaddr) {
        return "ELF segment: address";
    }
    if ((s->flags & PF_W) && (s->flags & PF_X)) {
        return "ELF segment: both writable and executable";
    }
    if (image->segments == SEGMENTS_MAX) {
        return "ELF segment: too many of them";
    }
    image->segment[image->segments++] = (struct segment) {
        .range = { s->vaddr, (s->vaddr + s->memsz + PAGE - 1) & -PAGE },
        .writable = s->flags & PF_W,
        .executable = s->flags & PF_X,
    };
    return NULL;
}

static const char *check_entry(const struct image *image) {
    for (uint32_t i = 0; i < image->segments; ++i) {
        const struct segment *s = &image->segment[i];
        if (s->executable && s->range.start <= image->entry && image->entry < s->range.end) {
            return NULL;
        }
    }
    return "ELF header: entry point outside the code";
}

const char *elf_check(const struct section *file, struct image *image) {
    const char *problem = check_header(file);
    if (problem) {
        return problem;
    }
    const struct elf_header *header = (const void *)file->data;
    image->entry = header->entry;
    image->segments = 0;
    for (uint32_t i = 0; i < header->phnum && !problem; ++i) {
        const struct elf_segment *s = segment_at(file, i);
        if (s->type == PT_INTERP) {
            problem = "ELF segment: asks for a dynamic loader";
        } else if (s->type == PT_LOAD && s->memsz > 0) {
            problem = check_segment(file, s, image);
        }
    }
    return problem ? problem : check_entry(image);
}

void elf_load(const struct section *file) {
    const struct elf_header *header = (const void *)file->data;
    for (uint32_t i = 0; i < header->phnum; ++i) {
        const struct elf_segment *s = segment_at(file, i);
        if (s->type == PT_LOAD) {
            memcpy((void *)s->vaddr, file->data + s->offset, s->filesz);
            memset((void *)(s->vaddr + s->filesz), 0, s->memsz - s->filesz);
        }
    }
}
