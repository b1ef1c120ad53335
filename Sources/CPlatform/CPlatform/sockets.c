#include "sockets.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int kdn_accept(int listener) {
  return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

ssize_t kdn_send_passing(int descriptor, struct iovec *pieces, size_t count, int passed) {
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr header;
  } control = {{0}};
  struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &passed, sizeof(int));
  return sendmsg(descriptor, &message, MSG_NOSIGNAL);
}

int kdn_has_unread(int descriptor) {
  int memory = 0;
  return ioctl(descriptor, SIOCOUTQ, &memory) != 0 || memory > 0;
}

ssize_t kdn_receive_with_descriptors(int descriptor, struct iovec *pieces, size_t count,
                                     int *passed, size_t capacity, size_t *passed_count) {
  union {
    char bytes[CMSG_SPACE(sizeof(int) * KDN_PASSED_DESCRIPTORS_MAX)];
    struct cmsghdr header;
  } control;
  struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  *passed_count = 0;
  ssize_t received = recvmsg(descriptor, &message, MSG_CMSG_CLOEXEC);
  if (received < 0) return received;
  size_t found = 0;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t index = 0; index < here; index++, found++) {
      int one;
      memcpy(&one, CMSG_DATA(header) + index * sizeof(int), sizeof(int));
      if (found < capacity) passed[found] = one; else close(one);
    }
  }
  *passed_count = found < capacity ? found : capacity;
  if (found <= capacity && (message.msg_flags & MSG_CTRUNC) == 0) return received;
  // Somebody passes more than was agreed on: what came is of no use.
  for (size_t index = 0; index < *passed_count; index++) close(passed[index]);
  *passed_count = 0;
  errno = EPROTO;
  return -1;
}
