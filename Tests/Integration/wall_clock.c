// Preloaded into kdnd: moves its wall clock by WALL_CLOCK_SECONDS, and no other clock. Tools that
// move the wall clock and promise to leave the others alone still disturb timers (timerfd).
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
  int result = (int)syscall(SYS_clock_gettime, clock, time);
  if (result == 0 && clock == CLOCK_REALTIME) {
    const char *shift = getenv("WALL_CLOCK_SECONDS");
    if (shift != NULL) time->tv_sec += atol(shift);
  }
  return result;
}
