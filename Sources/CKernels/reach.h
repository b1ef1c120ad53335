#ifndef KDN_KERNELS_REACH_H
#define KDN_KERNELS_REACH_H

#include "internal.h"

// The lowest and highest symbol that a channel has.
typedef struct {
  uint8_t low, high;
} kdn_reach;

// Whether any of eight is not zero.
KDN_INLINE int kdn_any(const uint32_t *counts) {
  uint64_t pairs[4];
  memcpy(pairs, counts, sizeof pairs);
  return (pairs[0] | pairs[1] | pairs[2] | pairs[3]) != 0;
}

KDN_INLINE kdn_reach kdn_reach_of(const uint32_t *counts) {
  uint32_t low = 0, high = 255;
  while (low < 248 && !kdn_any(counts + low)) low += 8;
  while (high > low + 8 && !kdn_any(counts + high - 7)) high -= 8;
  while (low < 255 && !counts[low]) low++;
  while (high > low && !counts[high]) high--;
  return (kdn_reach){(uint8_t)low, (uint8_t)high};
}

#endif
