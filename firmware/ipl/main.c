// SPDX-License-Identifier: MIT
// The initial program loader: from the reset vector's bare 64-bit mode to the payload's entry point. It runs in
// place from flash. It trusts QEMU's memory map and the CPU; it does not trust the flash image.

#include "address_space.h"
#include "chipset.h"
#include "clock.h"
#include "cpu.h"
#include "elf.h"
#include "exceptions.h"
#include "hob.h"
#include "log.h"
#include "memory_map.h"
#include "volume.h"

#define PAGE 0x1000ull

// The volume that this code runs from. Nobody boots from a damaged one knowingly; most damage in it shows here.
static void check_boot_volume(void) {
    static const uint8_t none[16];
    struct section unused;
    const char *damage = volume_open((const uint8_t *)BOOT_VOLUME_BASE, BOOT_VOLUME_SIZE, none, &unused);
    if (damage) {
        fatal("boot volume: %s: image refused", damage);
    }
}

static void open_payload(struct section *file, struct image *image) {
    static const uint8_t guid[16] = GUID_MAIN_FILE;
    const char *damage = volume_open((const uint8_t *)MAIN_VOLUME_BASE, MAIN_VOLUME_SIZE, guid, file);
    if (!damage && file->size == 0) {
        damage = "payload file missing";
    }
    if (!damage) {
        damage = elf_check(file, image);
    }
    if (damage) {
        fatal("main volume: %s: image refused", damage);
    }
}

// The user's own Python is an extra: if it is damaged the machine still boots, without it.
static void open_app(struct section *app) {
    static const uint8_t guid[16] = GUID_APP_FILE;
    const char *damage = volume_open((const uint8_t *)APP_VOLUME_BASE, APP_VOLUME_SIZE, guid, app);
    if (damage) {
        log_warn("app volume: %s: ignored", damage);
        app->size = 0;
    }
}

static void describe_resources(struct hob_list *list, const struct address_space *space) {
    const struct memory_map *map = &ipl_state->map;
    for (uint32_t i = 0; i < map->count; ++i) {
        hob_resource(list, RESOURCE_SYSTEM_MEMORY, map->ram[i]);
    }
    hob_resource(list, RESOURCE_MMIO, space->pci32);
    if (space->pci64.end) {
        hob_resource(list, RESOURCE_MMIO, space->pci64);
    }
    if (space->ecam.end) {
        hob_resource(list, RESOURCE_MMIO, space->ecam);
    }
    hob_resource(list, RESOURCE_MMIO, (struct range) { PLATFORM_IOAPIC_BASE, PLATFORM_IOAPIC_BASE + PAGE });
    hob_resource(list, RESOURCE_MMIO, (struct range) { PLATFORM_HPET_BASE, PLATFORM_HPET_BASE + PAGE });
    hob_resource(list, RESOURCE_MMIO, (struct range) { PLATFORM_LAPIC_BASE, PLATFORM_LAPIC_BASE + PAGE });
    hob_resource(list, RESOURCE_FIRMWARE_DEVICE, (struct range) { FLASH_BASE, FLASH_BASE + FLASH_SIZE });
    hob_resource(list, RESOURCE_IO, (struct range) { 0, 0x10000 });
    hob_volume(list, APP_VOLUME_BASE, APP_VOLUME_SIZE);
    hob_volume(list, MAIN_VOLUME_BASE, MAIN_VOLUME_SIZE);
    hob_volume(list, BOOT_VOLUME_BASE, BOOT_VOLUME_SIZE);
}

static void describe_allocations(struct hob_list *list, const struct address_space *space, const struct image *image) {
    static const uint8_t payload[16] = GUID_MAIN_FILE;
    static const uint8_t stack[16] = GUID_HOB_STACK;
    static const uint8_t page_tables[16] = GUID_HOB_PAGE_TABLES;
    static const uint8_t unnamed[16];
    for (uint32_t i = 0; i < image->segments; ++i) {
        const struct segment *s = &image->segment[i];
        hob_allocation(list, payload, s->executable ? MEMORY_LOADER_CODE : MEMORY_LOADER_DATA, s->range);
    }
    hob_allocation(list, unnamed, MEMORY_BOOT_SERVICES_DATA, space->hobs);
    hob_allocation(list, stack, MEMORY_BOOT_SERVICES_DATA, space->stack);
    hob_allocation(list, page_tables, MEMORY_BOOT_SERVICES_DATA, space->page_tables);
}

static struct platform *describe(struct address_space *space, const struct image *image) {
    struct hob_list list;
    hob_start(&list, (void *)space->hobs.start, space->hobs.end - space->hobs.start);
    describe_resources(&list, space);
    describe_allocations(&list, space, image);
    hob_cpu(&list, space->address_bits, 16);
    struct platform *platform = hob_platform(&list);
    hob_finish(&list, space->ram, space->page_tables.end);
    return platform;
}

// Enters the payload as if it had been called: rdi = HOB list, a null return address on top of its stack.
static _Noreturn void enter(uint64_t entry, uint64_t hobs, uint64_t stack_top) {
    __asm__ volatile(
        "mov %2, %%rsp\n"
        "xor %%ebp, %%ebp\n"
        "push %%rbp\n"
        "cld\n"
        "jmp *%0\n"
        : : "r"(entry), "D"(hobs), "r"(stack_top) : "memory");
    __builtin_unreachable();
}

__attribute__((section(".text.entry"))) _Noreturn void ipl_main(void) {
    struct section file, app;
    struct image image;
    struct address_space space;

    ipl_state->clock.running = false; // RAM keeps what it held through a warm reset
    exceptions_init();
    uint16_t chipset = chipset_init();
    clock_start();
    const char *source = memory_map_read(&ipl_state->map);
    check_boot_volume();
    open_payload(&file, &image);
    open_app(&app);

    address_space_plan(&space, &ipl_state->map, &image, chipset);
    elf_load(&file);
    address_space_map(&space, &ipl_state->map, &image);
    struct platform *platform = describe(&space, &image);
    *platform = (struct platform) {
        .version = 1,
        .chipset = chipset,
        .pm_base = PLATFORM_PM_BASE,
        .pm_timer_bits = PM_TIMER_BITS,
        .tsc_at_reset = ipl_state->tsc_at_reset,
        .ecam_base = space.ecam.start,
        .boot_volume_base = BOOT_VOLUME_BASE,
        .app_base = app.size ? (uint64_t)app.data : 0,
        .app_size = app.size,
        .tsc_hz = clock_tsc_hz(),
    };
    // The one line of a boot that goes well: each of its bytes leaves the guest.
    log_info("%s, RAM to %x from %s", chipset == CHIPSET_Q35 ? "q35" : "pc", memory_map_end(&ipl_state->map), source);
    platform->tsc_at_handoff = rdtsc();
    enter(image.entry, space.hobs.start, space.stack.end);
}
