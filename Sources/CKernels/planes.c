#include "elements.h"
#include "planes.h"

uint64_t kdn_plane_span(const kdn_plane *plane) {
  uint64_t channels = (uint64_t)plane->heads * plane->dims;
  if (plane->type < KDN_BF16 || plane->type > KDN_I8) return 0;
  if (channels == 0 || channels > KDN_CHANNELS_MAX || plane->tokens == 0) return 0;
  if (plane->head_tokens < plane->tokens) return 0;
  if (plane->head_tokens > KDN_ELEMENTS_MAX / channels) return 0;
  if (plane->rotary_dims % 2 || plane->rotary_dims > plane->dims) return 0;
  if (plane->rotary_first > plane->dims - plane->rotary_dims) return 0;
  if (plane->rotary_dims && (!plane->cosines || !plane->sines)) return 0;
  return ((plane->heads - 1) * plane->head_tokens + plane->tokens) * plane->dims;
}

// Scratch: a dense row of i16, two rows of f32, the coded channels' numbers; 64 each to align, and
// for the whole.
uint64_t kdn_row_scratch_bytes(const kdn_plane *plane) {
  if (!kdn_plane_span(plane)) return 0;
  return kdn_padded(kdn_channels(plane)) * (2 + 4 + 4 + 4) + 5 * 64;
}

// The same behind a matrix q.
uint64_t kdn_scratch_bytes(const kdn_plane *plane) {
  if (!kdn_plane_span(plane)) return 0;
  return kdn_padded(kdn_channels(plane)) * plane->tokens * 2 + kdn_row_scratch_bytes(plane) + 64;
}

// MARK: uniform

KDN_INLINE int32_t kdn_reconstruct_body(
  const kdn_plane *plane, const kdn_rows *rows, const int16_t *means, const int16_t *q,
  uint8_t *out
) {
  uint64_t channels = kdn_channels(plane);
  for (uint64_t t = 0; t < plane->tokens; t++) {
    const int16_t *restrict dense = kdn_dense_row(rows, channels, q + t * rows->stride);
    const float *restrict widths = rows->widths;
    float *restrict x = rows->row;
    for (uint64_t c = 0; c < channels; c++) {
      x[c] = (float)(16 * (int32_t)dense[c] + means[c]) * widths[c];
    }
    for (uint64_t h = 0; h < plane->heads; h++, x += plane->dims) {
      if (plane->rotary_dims) kdn_rotate(plane, t, 1, x);
      kdn_emit(plane->type, x, plane->dims, out + kdn_offset(plane, h, t));
    }
  }
  return KDN_OK;
}
KDN_PATHS(
  int32_t, kdn_reconstruct,
  (const kdn_plane *plane, const kdn_rows *rows, const int16_t *means, const int16_t *q,
   uint8_t *out),
  (plane, rows, means, q, out))

int32_t kdn_uniform_reconstruct(
  int32_t path, const kdn_plane *plane, const uint8_t *classes, const int16_t *means,
  const float *weights, float step, const int16_t *q, uint64_t q_count, void *scratch,
  uint64_t scratch_bytes, void *out, uint64_t out_bytes
) {
  path = kdn_resolve(path);
  int32_t result = kdn_check_plane(plane, path, out_bytes);
  if (result != KDN_OK) return result;
  uint64_t channels = kdn_channels(plane);
  if (scratch_bytes < kdn_row_scratch_bytes(plane)) return KDN_NO_ROOM;
  uint8_t *free_scratch = scratch;
  kdn_rows rows;
  kdn_open_rows(&rows, classes, channels, &free_scratch);
  if (q_count < rows.stride * plane->tokens) return KDN_NO_ROOM;
  uint32_t before = kdn_ieee_begin();
  for (uint64_t c = 0; c < channels; c++) {
    float d = weights ? step * weights[c] : step;
    rows.widths[c] = d * 0.0625f;
  }
  result = kdn_reconstruct_on(path, plane, &rows, means, q, out);
  kdn_ieee_end(before);
  return result;
}

int32_t kdn_uniform_decode(
  int32_t path, const uint32_t *tables, uint32_t table_count, const kdn_plane *plane,
  const uint8_t *classes, const int16_t *means, const float *weights, float step,
  const uint8_t *stream, uint64_t stream_bytes, const uint8_t *escapes, uint64_t escape_count,
  void *scratch, uint64_t scratch_bytes, void *out, uint64_t out_bytes
) {
  path = kdn_resolve(path);
  int32_t result = kdn_check_plane(plane, path, out_bytes);
  if (result != KDN_OK) return result;
  if (scratch_bytes < kdn_scratch_bytes(plane)) return KDN_NO_ROOM;
  uint64_t q_count = kdn_padded(kdn_channels(plane)) * plane->tokens;
  uint8_t *free_scratch = scratch;
  int16_t *q = kdn_carve(&free_scratch, q_count * 2);
  result = kdn_rans_decode(
    path, tables, table_count, classes, kdn_channels(plane), plane->tokens, stream, stream_bytes,
    escapes, escape_count, q, q_count);
  if (result != KDN_OK) return result;
  return kdn_uniform_reconstruct(
    path, plane, classes, means, weights, step, q, q_count, free_scratch,
    scratch_bytes - (uint64_t)(free_scratch - (uint8_t *)scratch), out, out_bytes);
}

// MARK: rows

KDN_INLINE int32_t kdn_load_body(
  const kdn_plane *plane, const uint8_t *elements, float *rows, uint64_t row_stride
) {
  uint32_t largest = 0;
  for (uint64_t t = 0; t < plane->tokens; t++) {
    float *restrict x = rows + t * row_stride;
    for (uint64_t h = 0; h < plane->heads; h++, x += plane->dims) {
      kdn_take(plane->type, elements + kdn_offset(plane, h, t), plane->dims, x);
      for (uint64_t d = 0; d < plane->dims; d++) {
        uint32_t absolute = kdn_bits(x[d]) & KDN_ABSOLUTE;
        largest = absolute > largest ? absolute : largest;
      }
      if (plane->rotary_dims) kdn_rotate(plane, t, -1, x);
    }
  }
  return largest >= KDN_INFINITY ? KDN_OUT_OF_RANGE : KDN_OK;
}
KDN_PATHS(
  int32_t, kdn_load,
  (const kdn_plane *plane, const uint8_t *elements, float *rows, uint64_t row_stride),
  (plane, elements, rows, row_stride))

static int32_t kdn_check_rows(
  const kdn_plane *plane, uint64_t row_stride, uint64_t rows_count
) {
  uint64_t channels = kdn_channels(plane);
  if (row_stride < channels || row_stride > KDN_ELEMENTS_MAX) return KDN_BAD_ARGUMENT;
  return rows_count < (plane->tokens - 1) * row_stride + channels ? KDN_NO_ROOM : KDN_OK;
}

int32_t kdn_load(
  int32_t path, const kdn_plane *plane, const void *elements, uint64_t byte_count, float *rows,
  uint64_t row_stride, uint64_t rows_count
) {
  path = kdn_resolve(path);
  int32_t result = kdn_check_plane(plane, path, byte_count);
  if (result == KDN_OK) result = kdn_check_rows(plane, row_stride, rows_count);
  if (result != KDN_OK) return result;
  uint32_t before = kdn_ieee_begin();
  result = kdn_load_on(path, plane, elements, rows, row_stride);
  kdn_ieee_end(before);
  return result;
}

KDN_INLINE int32_t kdn_store_body(
  const kdn_plane *plane, const float *rows, uint64_t row_stride, float *spare, uint8_t *out
) {
  for (uint64_t t = 0; t < plane->tokens; t++) {
    const float *x = rows + t * row_stride;
    for (uint64_t h = 0; h < plane->heads; h++, x += plane->dims) {
      uint8_t *target = out + kdn_offset(plane, h, t);
      if (!plane->rotary_dims) {
        kdn_emit(plane->type, x, plane->dims, target);
        continue;
      }
      memcpy(spare, x, plane->dims * sizeof *x);
      kdn_rotate(plane, t, 1, spare);
      kdn_emit(plane->type, spare, plane->dims, target);
    }
  }
  return KDN_OK;
}
KDN_PATHS(
  int32_t, kdn_store,
  (const kdn_plane *plane, const float *rows, uint64_t row_stride, float *spare, uint8_t *out),
  (plane, rows, row_stride, spare, out))

int32_t kdn_store(
  int32_t path, const kdn_plane *plane, const float *rows, uint64_t row_stride,
  uint64_t rows_count, void *scratch, uint64_t scratch_bytes, void *out, uint64_t out_bytes
) {
  path = kdn_resolve(path);
  int32_t result = kdn_check_plane(plane, path, out_bytes);
  if (result == KDN_OK) result = kdn_check_rows(plane, row_stride, rows_count);
  if (result != KDN_OK) return result;
  if (scratch_bytes < plane->dims * sizeof(float) + 64) return KDN_NO_ROOM;
  uint8_t *free_scratch = scratch;
  float *spare = kdn_carve(&free_scratch, plane->dims * sizeof(float));
  uint32_t before = kdn_ieee_begin();
  result = kdn_store_on(path, plane, rows, row_stride, spare, out);
  kdn_ieee_end(before);
  return result;
}
