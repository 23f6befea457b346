// SPDX-License-Identifier: Apache-2.0
// How a guest begins: entered through PVH in 32-bit mode without paging, it maps the first 4 GiB to
// themselves with 2 MiB pages, switches to 64-bit mode, and calls guest_main().

asm(R"(
  .section .note.pvh, "a", @note
  .balign 4
  .long 4                       # size of the name
  .long 4                       # size of the value
  .long 18                      # XEN_ELFNOTE_PHYS32_ENTRY
  .asciz "Xen"
  .long start32

  .section .text.start, "ax"
  .code32
  .globl start32
start32:
  cld
  mov $stack_top, %esp

  # Four page directories of 2 MiB pages, present and writable.
  mov $page_directories, %edi
  mov $0x83, %eax
  mov $2048, %ecx
1:
  mov %eax, (%edi)
  add $0x200000, %eax
  add $8, %edi
  dec %ecx
  jnz 1b
  movl $page_directories + 0x0003, page_pointers
  movl $page_directories + 0x1003, page_pointers + 8
  movl $page_directories + 0x2003, page_pointers + 16
  movl $page_directories + 0x3003, page_pointers + 24
  movl $page_pointers + 3, page_root

  mov $0x20, %eax               # CR4.PAE
  mov %eax, %cr4
  mov $page_root, %eax
  mov %eax, %cr3
  mov $0xc0000080, %ecx         # EFER.LME
  mov $0x100, %eax
  xor %edx, %edx
  wrmsr
  mov $0x80000001, %eax         # CR0.PG, PE
  mov %eax, %cr0
  lgdt gdt_pointer
  ljmp $8, $start64

  .code64
start64:
  mov $16, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  call guest_main
  call guest_end

  .section .data, "aw"
  .balign 8
gdt:
  .quad 0
  .quad 0x00af9b000000ffff      # 64-bit code
  .quad 0x00cf93000000ffff      # data
gdt_pointer:
  .word 23
  .long gdt

  .section .bss, "aw", @nobits
  .balign 4096
page_root:
  .skip 4096
page_pointers:
  .skip 4096
page_directories:
  .skip 4 * 4096
stack:
  .skip 16384
stack_top:
  .text
)");

// The compiler calls these by itself.
extern "C" void* memset(void* to, int value, unsigned long size) {
  void* result = to;
  asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
  return result;
}
extern "C" void* memcpy(void* to, const void* from, unsigned long size) {
  void* result = to;
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
  return result;
}
