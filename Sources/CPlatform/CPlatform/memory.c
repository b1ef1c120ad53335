#include "memory.h"

#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

int kdn_memfd(int huge) {
  return memfd_create("kdn-slab", MFD_CLOEXEC | (huge ? MFD_HUGETLB : 0));
}
int kdn_madv_hugepage(void) { return MADV_HUGEPAGE; }
int kdn_madv_populate_write(void) { return MADV_POPULATE_WRITE; }
int kdn_lock_on_fault(const void *start, size_t length) {
  return mlock2(start, length, MLOCK_ONFAULT);
}
