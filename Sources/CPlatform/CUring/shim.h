#ifndef KDN_URING_SHIM_H
#define KDN_URING_SHIM_H
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdint.h>
#include <sys/uio.h>

// What Swift cannot import of liburing: macros, and setting up by hand.

/* A ring of `entries` that the calling thread alone will use; 0 or -errno. Kernels before 6.1 lack
   the flags and interrupt the thread instead. */
static inline int kdn_uring_setup(struct io_uring *ring, unsigned entries) {
  int result = io_uring_queue_init(
      entries, ring,
      IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
  if (result != -EINVAL) return result;
  return io_uring_queue_init(entries, ring, IORING_SETUP_CLAMP);
}
/* The oldest result that waits, or NULL; kdn_uring_seen lets it go. */
static inline struct io_uring_cqe *kdn_uring_peek(struct io_uring *ring) {
  struct io_uring_cqe *result = NULL;
  return io_uring_peek_cqe(ring, &result) == 0 ? result : NULL;
}
static inline void kdn_uring_seen(struct io_uring *ring, struct io_uring_cqe *result) {
  io_uring_cqe_seen(ring, result);
}
/* Becomes ready, once, when `descriptor` can be read. */
static inline void kdn_uring_poll(struct io_uring_sqe *place, int descriptor) {
  io_uring_prep_poll_add(place, descriptor, POLLIN);
}
/* The next free place of the ring, zeroed by whoever prepares it, or NULL. */
static inline struct io_uring_sqe *kdn_uring_place(struct io_uring *ring) {
  return io_uring_get_sqe(ring);
}
static inline void kdn_uring_mark(struct io_uring_sqe *place, uint64_t token) {
  io_uring_sqe_set_data64(place, token);
}
static inline uint64_t kdn_uring_token(const struct io_uring_cqe *result) {
  return result->user_data;
}
/* Lets a thread of the kernel do the work, which may then wait. */
static inline void kdn_uring_may_wait(struct io_uring_sqe *place) { place->flags |= IOSQE_ASYNC; }
static inline void kdn_uring_datasync(struct io_uring_sqe *place, int descriptor) {
  io_uring_prep_fsync(place, descriptor, IORING_FSYNC_DATASYNC);
}
/* At most so many threads of the kernel that wait for devices; best effort. */
static inline void kdn_uring_threads(struct io_uring *ring, unsigned count) {
  unsigned both[2] = {count, count};
  (void)io_uring_register_iowq_max_workers(ring, both);
}
#endif
