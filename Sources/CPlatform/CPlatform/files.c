#include "files.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/vfs.h>

int kdn_o_direct(void) { return O_DIRECT; }
int kdn_fallocate(int descriptor, int64_t length) { return fallocate(descriptor, 0, 0, length); }
int64_t kdn_preadv(int descriptor, const struct iovec *pieces, int count, int64_t offset) {
  return preadv(descriptor, pieces, count, offset);
}
int64_t kdn_pwritev(int descriptor, const struct iovec *pieces, int count, int64_t offset) {
  return pwritev(descriptor, pieces, count, offset);
}
int kdn_is_regular(uint32_t mode) { return S_ISREG(mode); }
int kdn_is_link(uint32_t mode) { return S_ISLNK(mode); }
void kdn_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }
int kdn_file_system(const char *path, int64_t *magic, int64_t *free_bytes) {
  struct statfs facts;
  if (statfs(path, &facts) != 0) return -1;
  *magic = facts.f_type;
  *free_bytes = (int64_t)facts.f_bavail * facts.f_bsize;
  return 0;
}
int kdn_is_clock_synchronised(void) {
  struct timex clock = {0};
  return adjtimex(&clock) != TIME_ERROR;
}
