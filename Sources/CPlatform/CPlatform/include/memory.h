#ifndef KDN_MEMORY_H
#define KDN_MEMORY_H
#include <stddef.h>

// Flags that Swift's Glibc module does not import.

/* memfd_create with MFD_CLOEXEC, and MFD_HUGETLB if huge is not 0. */
int kdn_memfd(int huge);
int kdn_madv_hugepage(void);
int kdn_madv_populate_write(void);
/* mlock2 with MLOCK_ONFAULT: pages are locked as they come; placing and prefaulting stay ours. */
int kdn_lock_on_fault(const void *start, size_t length);
#endif
