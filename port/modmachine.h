// SPDX-License-Identifier: MIT
// What modmachine.c gathers from the machine_*.c files.
#ifndef PORT_MODMACHINE_H
#define PORT_MODMACHINE_H

#include "py/obj.h"

extern const struct _machine_port_obj_t machine_port8_obj;
extern const struct _machine_port_obj_t machine_port16_obj;
extern const struct _machine_port_obj_t machine_port32_obj;
extern const mp_obj_base_t machine_mem64_obj;
extern const mp_obj_base_t machine_ramdisk_obj;
extern const mp_obj_base_t machine_disk_obj;
extern const mp_obj_type_t machine_disk_type;
extern const mp_obj_type_t machine_dma_type;
extern const mp_obj_type_t machine_ramdisk_type;
extern const mp_obj_type_t machine_rtc_type;
extern const mp_obj_type_t machine_vector_type;
MP_DECLARE_CONST_FUN_OBJ_0(machine_dma_used_obj);
MP_DECLARE_CONST_FUN_OBJ_1(machine_dma_reserve_obj);
MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(machine_copy_obj);
MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(machine_nbytes_obj);

void machine_init(void);   // once, at power-on
void machine_disk_init(void); // once, at power-on: looks whether there is a second flash chip
void machine_deinit(void); // at each soft reset, while Python still runs
void machine_crashed(void);  // machine.reset_cause() says so from now on
void machine_vector_deinit_all(void);
void machine_vector_raise_due(void);
void machine_vector_wait(bool begins);
void machine_vector_trigger(mp_obj_t vector);        // have its handler called soon
mp_obj_t machine_vector_handler(mp_obj_t vector);    // what irq() was given

#endif // PORT_MODMACHINE_H
