#ifndef KDN_MEMORY_H
#define KDN_MEMORY_H
#include <stddef.h>

// Flags that Swift's Glibc module does not import.

/* memfd_create of a file that can be sealed and is closed by exec; huge pages if huge is not 0. */
int kdn_memfd(int huge);
/* Adds seals to a memfd: nobody ever changes its size, and no seal is added after these. */
int kdn_seal_size(int descriptor);
/* Adds the seal that refuses every write and every writable mapping but those that exist. */
int kdn_seal_writing(int descriptor);
/* Whether nobody can make the memfd shorter under a mapping of it. */
int kdn_is_size_sealed(int descriptor);
int kdn_madv_hugepage(void);
int kdn_madv_populate_write(void);
int kdn_madv_populate_read(void);
/* mlock2 with MLOCK_ONFAULT: pages are locked as they come; placing and prefaulting stay ours. */
int kdn_lock_on_fault(const void *start, size_t length);
#endif
