// SPDX-License-Identifier: MIT
// mp_map_lookup(), which every name in Python goes through, in front of MicroPython's own (py/map.c
// knows that as mp_map_search here). More than a third of the time that the vsock driver needed went
// into names: the cache that MicroPython has gives each name one position in all maps, so that
// objects which have the same name in different places take it from each other; and it divides at
// every step when a name is not there, as a method's is not in its object, before it is found in the
// class. Under TCG this makes calling a method take 0.33 us instead of 0.45.

#include "py/obj.h"
#include "py/qstr.h"

// With 2048, two names of a hot path met in it, others with each build, which cost a send up to 5 %.
#define CACHE_SIZE   (8192)
#define SCAN_AT_MOST (16) // positions that are looked at one by one without asking for the hash

// Where a name was in a map, by the addresses of both. A hint: what is there is compared.
static uint16_t cache[CACHE_SIZE];

mp_map_elem_t *mp_map_search(mp_map_t *map, mp_obj_t index, mp_map_lookup_kind_t kind);

static inline uint16_t *hint(const mp_map_t *map, mp_obj_t index) {
    return &cache[((uintptr_t)map >> 4 ^ (uintptr_t)index >> 3) % CACHE_SIZE];
}

// A name in a hash table whose keys are all names; NULL if it is not there.
static mp_map_elem_t *find_name(const mp_map_t *map, mp_obj_t index) {
    size_t n = map->alloc;
    size_t pos = n <= SCAN_AT_MOST ? 0 : qstr_hash(MP_OBJ_QSTR_VALUE(index)) % n;
    for (size_t left = n; left > 0; --left) {
        mp_map_elem_t *slot = &map->table[pos];
        if (slot->key == index) {
            return slot;
        }
        if (slot->key == MP_OBJ_NULL && n > SCAN_AT_MOST) {
            return NULL;
        }
        if (++pos == n) {
            pos = 0;
        }
    }
    return NULL;
}

mp_map_elem_t *mp_map_lookup(mp_map_t *map, mp_obj_t index, mp_map_lookup_kind_t kind) {
    if (kind == MP_MAP_LOOKUP_REMOVE_IF_FOUND) {
        return mp_map_search(map, index, kind);
    }
    uint16_t *pos = hint(map, index);
    if (*pos < map->alloc && map->table[*pos].key == index) {
        return &map->table[*pos];
    }
    mp_map_elem_t *found;
    if (kind == MP_MAP_LOOKUP && map->all_keys_are_qstrs && !map->is_ordered && mp_obj_is_qstr(index)) {
        found = find_name(map, index);
    } else {
        found = mp_map_search(map, index, kind);
    }
    if (found != NULL) {
        *pos = found - map->table;
    }
    return found;
}
