#include "process.h"

#include <pthread.h>

static uint32_t forks;
static pthread_once_t watching = PTHREAD_ONCE_INIT;

static void count_fork(void) { forks++; }
static void watch(void) { pthread_atfork(NULL, NULL, count_fork); }

uint32_t kdn_fork_count(void) {
  pthread_once(&watching, watch);
  return forks;
}

kdn_failure *kdn_last_failure(void) {
  static _Thread_local kdn_failure failure;
  return &failure;
}
