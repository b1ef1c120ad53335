#ifndef KDN_FILES_H
#define KDN_FILES_H
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

// GNU extensions around files, threads and clocks that Swift's Glibc module does not import.

/* O_DIRECT, whose value differs between processors. */
int kdn_o_direct(void);
/* fallocate(2) without a mode: blocks are really allocated, or the call fails. */
int kdn_fallocate(int descriptor, int64_t length);
/* preadv and pwritev. */
int64_t kdn_preadv(int descriptor, const struct iovec *pieces, int count, int64_t offset);
int64_t kdn_pwritev(int descriptor, const struct iovec *pieces, int count, int64_t offset);
/* Whether st_mode says regular file, or symbolic link: macros that Swift cannot import. */
int kdn_is_regular(uint32_t mode);
int kdn_is_link(uint32_t mode);
/* Names the calling thread for top and debuggers: at most 15 bytes. */
void kdn_name_thread(const char *name);
/* statfs(2): the file system's magic number, and the bytes free for whoever is not root. */
int kdn_file_system(const char *path, int64_t *magic, int64_t *free_bytes);
/* adjtimex(2): whether somebody keeps the kernel's clock in time. */
int kdn_is_clock_synchronised(void);
#endif
