#ifndef KDN_PROCESS_H
#define KDN_PROCESS_H
#include <stdint.h>

// What belongs to a process or a thread and that Swift has no word for.

/* How many forks lie between the process that asked first and this one. */
uint32_t kdn_fork_count(void);

/* Why the last call of a thread failed. */
typedef struct kdn_failure {
  char text[1024];
  char field[256];
  char message[1024];
  uint64_t value;
  uint64_t limit;
  uint32_t status;
  uint32_t retry_after_milliseconds;
} kdn_failure;
/* The calling thread's. */
kdn_failure *kdn_last_failure(void);
#endif
