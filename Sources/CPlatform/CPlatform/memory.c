#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 16
#endif

int kdn_memfd(int huge) {
  unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB : 0);
  int descriptor = memfd_create("kdn", flags | MFD_NOEXEC_SEAL);
  // Kernels before 6.3 do not know the flag.
  return descriptor < 0 && errno == EINVAL ? memfd_create("kdn", flags) : descriptor;
}
int kdn_seal_size(int descriptor) {
  return fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}
int kdn_seal_writing(int descriptor) {
  return fcntl(descriptor, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
}
int kdn_is_size_sealed(int descriptor) {
  int seals = fcntl(descriptor, F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}
int kdn_madv_hugepage(void) { return MADV_HUGEPAGE; }
int kdn_madv_populate_write(void) { return MADV_POPULATE_WRITE; }
int kdn_madv_populate_read(void) { return MADV_POPULATE_READ; }
int kdn_lock_on_fault(const void *start, size_t length) {
  return mlock2(start, length, MLOCK_ONFAULT);
}
