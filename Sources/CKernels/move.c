#include "elements.h"

#define KDN_DIMS_MAX 4096

KDN_INLINE void kdn_move_body(
  const kdn_plane *plane, float scale, uint64_t rows, const uint8_t *restrict in,
  uint8_t *restrict out
) {
  float x[KDN_DIMS_MAX];
  uint64_t bytes = plane->dims * kdn_element_bytes(plane->type);
  for (uint64_t row = 0; row < rows; row++) {
    kdn_take(plane->type, in + row * bytes, plane->dims, x);
    if (plane->rotary_dims > 0) kdn_rotate(plane, 0, 1.0f, x);
    if (scale != 1.0f) {
      for (uint64_t i = 0; i < plane->dims; i++) x[i] = x[i] * scale;
    }
    kdn_emit(plane->type, x, plane->dims, out + row * bytes);
  }
}
KDN_PATHS(
  void, kdn_move,
  (const kdn_plane *plane, float scale, uint64_t rows, const uint8_t *in, uint8_t *out),
  (plane, scale, rows, in, out))

int32_t kdn_move_rows(
  int32_t path, const kdn_plane *plane, float scale, const void *in, uint64_t in_bytes, void *out,
  uint64_t out_bytes
) {
  int32_t resolved = kdn_resolve(path);
  if (!resolved || plane->dims == 0 || plane->dims > KDN_DIMS_MAX) return KDN_BAD_ARGUMENT;
  if (plane->type < KDN_BF16 || plane->type > KDN_I8) return KDN_BAD_ARGUMENT;
  if (plane->rotary_dims % 2 || plane->rotary_dims > plane->dims) return KDN_BAD_ARGUMENT;
  if (plane->rotary_first > plane->dims - plane->rotary_dims) return KDN_BAD_ARGUMENT;
  if (plane->tokens > KDN_ELEMENTS_MAX) return KDN_BAD_ARGUMENT;
  uint64_t bytes = plane->tokens * plane->dims * kdn_element_bytes(plane->type);
  if (in_bytes < bytes || out_bytes < bytes) return KDN_NO_ROOM;
  uint32_t before = kdn_ieee_begin();
  kdn_move_on(resolved, plane, scale, plane->tokens, in, out);
  kdn_ieee_end(before);
  return KDN_OK;
}
