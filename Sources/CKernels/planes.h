#ifndef KDN_KERNELS_PLANES_H
#define KDN_KERNELS_PLANES_H

#include "elements.h"

// What every function of planes checks first.
KDN_INLINE int32_t kdn_check_plane(const kdn_plane *plane, int32_t path, uint64_t byte_count) {
  uint64_t span = kdn_plane_span(plane);
  if (!span || !path) return KDN_BAD_ARGUMENT;
  return byte_count < span * kdn_element_bytes(plane->type) ? KDN_NO_ROOM : KDN_OK;
}

KDN_INLINE uint64_t kdn_channels(const kdn_plane *plane) {
  return (uint64_t)plane->heads * plane->dims;
}

KDN_INLINE uint64_t kdn_padded(uint64_t count) { return (count + 31) / 32 * 32; }

// Byte offset of a head's token in canonical order.
KDN_INLINE uint64_t kdn_offset(const kdn_plane *plane, uint64_t head, uint64_t token) {
  return (head * plane->head_tokens + token) * plane->dims * kdn_element_bytes(plane->type);
}

// The next 64-byte aligned piece of scratch.
KDN_INLINE void *kdn_carve(uint8_t **scratch, uint64_t bytes) {
  uintptr_t start = ((uintptr_t)*scratch + 63) / 64 * 64;
  *scratch = (uint8_t *)start + bytes;
  return (void *)start;
}

typedef struct {
  uint64_t stride;   // of q's rows
  uint64_t coded;
  int16_t *dense;    // a row with the zeros of class 0 in place
  uint32_t *numbers; // channel of each coded coefficient
  float *row;
  float *widths;     // d / 16
} kdn_rows;

KDN_INLINE void kdn_open_rows(
  kdn_rows *rows, const uint8_t *classes, uint64_t channels, uint8_t **scratch
) {
  uint64_t padded = kdn_padded(channels);
  rows->dense = kdn_carve(scratch, padded * 2);
  rows->numbers = kdn_carve(scratch, padded * 4);
  rows->row = kdn_carve(scratch, padded * 4);
  rows->widths = kdn_carve(scratch, padded * 4);
  rows->stride = kdn_stride(classes, channels);
  rows->coded = 0;
  for (uint64_t c = 0; c < channels; c++) {
    if (classes[c]) rows->numbers[rows->coded++] = (uint32_t)c;
    rows->dense[c] = 0;
  }
}

// q's row with class 0 filled in: the row itself if all is coded.
KDN_INLINE const int16_t *kdn_dense_row(
  const kdn_rows *rows, uint64_t channels, const int16_t *row
) {
  if (rows->coded == channels) return row;
  for (uint64_t i = 0; i < rows->coded; i++) rows->dense[rows->numbers[i]] = row[i];
  return rows->dense;
}

#endif
