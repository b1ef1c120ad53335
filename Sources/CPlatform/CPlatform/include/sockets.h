#ifndef KDN_SOCKETS_H
#define KDN_SOCKETS_H
// Kernel interfaces that Swift's Glibc module does not import, and macros that it cannot.
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>

static inline int kdn_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }
static inline int kdn_epoll_control(int set, int operation, int descriptor, uint32_t events,
                                    uint64_t token) {
  struct epoll_event event = {.events = events, .data = {.u64 = token}};
  return epoll_ctl(set, operation, descriptor, &event);
}
static inline uint64_t kdn_epoll_token(const struct epoll_event *event) { return event->data.u64; }
static inline int kdn_eventfd(void) { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }
static inline int kdn_timerfd(void) {
  return timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
}
/* accept4 with SOCK_NONBLOCK and SOCK_CLOEXEC; a GNU extension, so it is not inline. */
int kdn_accept(int listener);
static inline int kdn_socket(int family) {
  return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}
static inline ssize_t kdn_send(int descriptor, struct iovec *pieces, size_t count) {
  struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
  return sendmsg(descriptor, &message, MSG_NOSIGNAL);
}
/* The same; the first byte carries the descriptor `passed`, which stays the caller's too. */
ssize_t kdn_send_passing(int descriptor, struct iovec *pieces, size_t count, int passed);
/* Whether the other end of a Unix socket has yet to read something. */
int kdn_has_unread(int descriptor);
/* Most descriptors that one call receives. */
#define KDN_PASSED_DESCRIPTORS_MAX 16
/* recvmsg; descriptors that come with the bytes go to `passed`, closed by exec, the caller's to
   close. More than `capacity` of them are a failure with EPROTO, and all are closed. */
ssize_t kdn_receive_with_descriptors(int descriptor, struct iovec *pieces, size_t count,
                                     int *passed, size_t capacity, size_t *passed_count);
static inline ssize_t kdn_receive(int descriptor, struct iovec *pieces, size_t count) {
  struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
  return recvmsg(descriptor, &message, 0);
}
#endif
