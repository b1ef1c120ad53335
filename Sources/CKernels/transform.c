#include "elements.h"
#include "planes.h"
#include "products.h"

// Sums to values: product and sum rounded.
KDN_INLINE void kdn_scale_body(
  const int32_t *restrict sums, uint64_t tokens, uint64_t width, const float *restrict widths,
  const float *restrict offsets, float *restrict x, uint64_t dims
) {
  for (uint64_t t = 0; t < tokens; t++, sums += KDN_PANEL, x += dims) {
    for (uint64_t c = 0; c < width; c++) x[c] = (float)sums[c] * widths[c] + offsets[c];
  }
}
KDN_PATHS(
  void, kdn_scale,
  (const int32_t *sums, uint64_t tokens, uint64_t width, const float *widths,
   const float *offsets, float *x, uint64_t dims),
  (sums, tokens, width, widths, offsets, x, dims))

// One head's rows [token][dim] rotated and rounded.
KDN_INLINE void kdn_finish_body(const kdn_plane *plane, uint64_t head, float *x, uint8_t *out) {
  for (uint64_t t = 0; t < plane->tokens; t++, x += plane->dims) {
    if (plane->rotary_dims) kdn_rotate(plane, t, 1, x);
    kdn_emit(plane->type, x, plane->dims, out + kdn_offset(plane, head, t));
  }
}
KDN_PATHS(
  void, kdn_finish, (const kdn_plane *plane, uint64_t head, float *x, uint8_t *out),
  (plane, head, x, out))

// Scratch: a panel, the coded coefficients' numbers, a head's rows.
uint64_t kdn_transform_scratch_bytes(const kdn_plane *plane, uint64_t count) {
  if (!kdn_plane_span(plane) || count > KDN_CHANNELS_MAX) return 0;
  uint64_t padded = kdn_padded(count);
  return kdn_panel_room(padded) * 4 + padded * 4 + plane->tokens * plane->dims * 4 + 3 * 64;
}

// A head's rows before rotation, for up to KDN_PANEL columns whose panel there is.
static void kdn_fill_rows(
  int32_t path, const kdn_lots *lots, const int16_t *q, uint64_t stride, uint64_t tokens,
  const int32_t *panel, uint64_t width, const float *widths, const float *offsets, float *rows,
  uint64_t dims
) {
  for (uint64_t t = 0; t < tokens; t += KDN_TILE) {
    int32_t sums[KDN_TILE * KDN_PANEL];
    uint64_t first = t, rest = tokens - t < KDN_TILE ? tokens - t : KDN_TILE;
    if (rest < 4 && tokens >= 4) {
      // Less than four rows take longer than four: some are done again.
      first = tokens - 4;
      rest = 4;
    }
    kdn_tile(path, lots, q + first * stride, stride, rest, panel, sums);
    kdn_scale_on(path, sums, rest, width, widths, offsets, rows + first * dims, dims);
  }
}

int32_t kdn_transform_reconstruct(
  int32_t path, const kdn_plane *plane, const uint8_t *classes, uint64_t count,
  const int16_t *basis, uint64_t basis_columns, uint64_t first_column, uint32_t shift,
  const float *scales, const float *offsets, float step, const int16_t *q, uint64_t q_count,
  void *scratch, uint64_t scratch_bytes, void *out, uint64_t out_bytes
) {
  path = kdn_resolve(path);
  int32_t result = kdn_check_plane(plane, path, out_bytes);
  if (result != KDN_OK) return result;
  if (count > KDN_CHANNELS_MAX || basis_columns > KDN_ELEMENTS_MAX) return KDN_BAD_ARGUMENT;
  if (first_column > basis_columns || shift > KDN_SHIFT_MAX) return KDN_BAD_ARGUMENT;
  if (basis_columns - first_column < kdn_channels(plane)) return KDN_BAD_ARGUMENT;
  if (scratch_bytes < kdn_transform_scratch_bytes(plane, count)) return KDN_NO_ROOM;
  uint64_t stride = kdn_stride(classes, count);
  if (q_count < stride * plane->tokens) return KDN_NO_ROOM;
  uint8_t *free_scratch = scratch;
  int32_t *panel = kdn_carve(&free_scratch, kdn_panel_room(stride) * 4);
  uint32_t *numbers = kdn_carve(&free_scratch, stride * 4);
  float *rows = kdn_carve(&free_scratch, plane->tokens * plane->dims * 4);
  kdn_lots lots;
  kdn_make_lots(&lots, path, classes, count, shift, numbers);
  uint32_t before = kdn_ieee_begin();
  for (uint64_t h = 0; h < plane->heads; h++) {
    for (uint64_t first = 0; first < plane->dims; first += KDN_PANEL) {
      uint64_t channel = h * plane->dims + first;
      uint64_t width = plane->dims - first < KDN_PANEL ? plane->dims - first : KDN_PANEL;
      float widths[KDN_PANEL];
      for (uint64_t c = 0; c < width; c++) widths[c] = scales[channel + c] * step;
      kdn_pack_panel(path, &lots, basis + first_column + channel, basis_columns, width, panel);
      kdn_fill_rows(
        path, &lots, q, stride, plane->tokens, panel, width, widths, offsets + channel,
        rows + first, plane->dims);
    }
    kdn_finish_on(path, plane, h, rows, out);
  }
  kdn_ieee_end(before);
  return KDN_OK;
}

// Columns whose sums stay in registers.
#define KDN_SUMS 64

// Sums over n of m[n] * basis[n][c] of `width` columns; so many products fit in 32 bits.
KDN_INLINE void kdn_mean_sums_body(
  const int16_t *m, uint64_t count, const int16_t *basis, uint64_t columns, uint64_t width,
  uint32_t fitting, int64_t *sums
) {
  int64_t local[KDN_SUMS] = {0};
  int32_t part[KDN_SUMS] = {0};
  uint32_t left = fitting;
  for (uint64_t n = 0; n < count; n++, basis += columns) {
    if (!m[n]) continue;
    for (uint64_t c = 0; c < width; c++) part[c] += (int32_t)m[n] * basis[c];
    if (--left > 0) continue;
    for (uint64_t c = 0; c < width; c++) local[c] += part[c];
    memset(part, 0, sizeof part);
    left = fitting;
  }
  for (uint64_t c = 0; c < width; c++) sums[c] = local[c] + part[c];
}
KDN_INLINE void kdn_mean_sums_group_body(
  const int16_t *m, uint64_t count, const int16_t *basis, uint64_t columns, uint64_t width,
  uint32_t fitting, int64_t *sums
) {
  // A constant width lets the loop over columns become whole vectors.
  if (width == KDN_SUMS) kdn_mean_sums_body(m, count, basis, columns, KDN_SUMS, fitting, sums);
  else kdn_mean_sums_body(m, count, basis, columns, width, fitting, sums);
}
KDN_PATHS(
  void, kdn_mean_sums_group,
  (const int16_t *m, uint64_t count, const int16_t *basis, uint64_t columns, uint64_t width,
   uint32_t fitting, int64_t *sums),
  (m, count, basis, columns, width, fitting, sums))

// How many products of the means and 2^15 at most stay below 2^31 together.
static uint32_t kdn_fitting(const int16_t *m, uint64_t count) {
  uint32_t largest = 1;
  for (uint64_t n = 0; n < count; n++) {
    uint32_t size = (uint32_t)(m[n] < 0 ? -m[n] : m[n]);
    largest = size > largest ? size : largest;
  }
  return 0xffff / largest;
}

int32_t kdn_transform_offsets(
  const int16_t *m, uint64_t count, const int16_t *basis, uint64_t columns, const float *scales,
  const float *means, float step, float *offsets
) {
  if (count > KDN_CHANNELS_MAX || columns > KDN_ELEMENTS_MAX) return KDN_BAD_ARGUMENT;
  int32_t path = kdn_resolve(KDN_AUTO);
  uint32_t fitting = kdn_fitting(m, count), before = kdn_ieee_begin();
  for (uint64_t first = 0; first < columns; first += KDN_SUMS) {
    int64_t sums[KDN_SUMS];
    uint64_t width = columns - first < KDN_SUMS ? columns - first : KDN_SUMS;
    kdn_mean_sums_group_on(
      path, m, count, basis + first, columns, width, fitting, sums);
    for (uint64_t c = 0; c < width; c++) {
      float width_of_step = scales[first + c] * step;
      double product = (double)sums[c] * ((double)width_of_step * 0.0625);
      offsets[first + c] = means[first + c] + (float)product;
    }
  }
  kdn_ieee_end(before);
  return KDN_OK;
}

KDN_INLINE void kdn_add_sizes_body(const int16_t *restrict row, uint64_t columns,
                                   uint32_t *restrict sums) {
  for (uint64_t c = 0; c < columns; c++) {
    sums[c] += (uint32_t)(row[c] < 0 ? -(int32_t)row[c] : row[c]);
  }
}
KDN_PATHS(
  void, kdn_add_sizes, (const int16_t *row, uint64_t columns, uint32_t *sums),
  (row, columns, sums))

KDN_INLINE uint16_t kdn_row_size_body(const int16_t *row, uint64_t columns) {
  uint16_t largest = 0;
  for (uint64_t c = 0; c < columns; c++) {
    uint16_t size = (uint16_t)(row[c] < 0 ? -row[c] : row[c]);
    largest = size > largest ? size : largest;
  }
  return largest;
}
KDN_PATHS(uint16_t, kdn_row_size, (const int16_t *row, uint64_t columns), (row, columns))

uint64_t kdn_column_bound(
  const uint8_t *classes, uint64_t count, const int16_t *basis, uint64_t columns, uint32_t shift,
  uint32_t *sums
) {
  int32_t path = kdn_resolve(KDN_AUTO);
  uint64_t coarse = 0;
  memset(sums, 0, columns * sizeof *sums);
  for (uint64_t n = 0; n < count && n < KDN_CHANNELS_MAX / 16; n++) {
    if (classes[n]) kdn_add_sizes_on(path, basis + n * columns, columns, sums);
    coarse += (classes[n] & KDN_COARSE) != 0;
  }
  uint32_t largest = 0;
  for (uint64_t c = 0; c < columns; c++) largest = sums[c] > largest ? sums[c] : largest;
  // Rounding makes a coarse value larger by half a step of it at most.
  uint64_t rounding = coarse * ((1u << shift) >> 1);
  return count > KDN_CHANNELS_MAX / 16 ? UINT64_MAX : largest + rounding;
}

void kdn_row_sizes(
  const int16_t *basis, uint64_t count, uint64_t columns, uint16_t *sizes
) {
  int32_t path = kdn_resolve(KDN_AUTO);
  for (uint64_t n = 0; n < count; n++, basis += columns) {
    sizes[n] = kdn_row_size_on(path, basis, columns);
  }
}
