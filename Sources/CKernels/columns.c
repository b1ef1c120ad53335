#include "elements.h"
#include "planes.h"
#include "products.h"

// What is known of the columns of a basis: what means come to in them, and how large sums may be.

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
  else if (width == KDN_PANEL) {
    kdn_mean_sums_body(m, count, basis, columns, KDN_PANEL, fitting, sums);
  } else kdn_mean_sums_body(m, count, basis, columns, width, fitting, sums);
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

// Offsets of `width` columns, at most KDN_SUMS, whose widths are scale times step.
static void kdn_group_offsets(
  int32_t path, const int16_t *m, uint64_t count, const int16_t *basis, uint64_t columns,
  uint64_t width, uint32_t fitting, const float *widths, const float *means, float *offsets
) {
  int64_t sums[KDN_SUMS];
  kdn_mean_sums_group_on(path, m, count, basis, columns, width, fitting, sums);
  for (uint64_t c = 0; c < width; c++) {
    double product = (double)sums[c] * ((double)widths[c] * 0.0625);
    offsets[c] = means[c] + (float)product;
  }
}

void kdn_panel_offsets(
  int32_t path, const kdn_transform *block, const int16_t *basis, uint64_t columns,
  uint64_t width, const float *widths, const float *means, float *offsets
) {
  uint32_t fitting = kdn_fitting(block->means, block->count);
  kdn_group_offsets(
    path, block->means, block->count, basis, columns, width, fitting, widths, means, offsets);
}

int32_t kdn_transform_offsets(
  const int16_t *m, uint64_t count, const int16_t *basis, uint64_t columns, const float *scales,
  const float *means, float step, float *offsets
) {
  if (count > KDN_CHANNELS_MAX || columns > KDN_ELEMENTS_MAX) return KDN_BAD_ARGUMENT;
  int32_t path = kdn_resolve(KDN_AUTO);
  uint32_t fitting = kdn_fitting(m, count), before = kdn_ieee_begin();
  for (uint64_t first = 0; first < columns; first += KDN_SUMS) {
    uint64_t width = columns - first < KDN_SUMS ? columns - first : KDN_SUMS;
    float widths[KDN_SUMS];
    for (uint64_t c = 0; c < width; c++) widths[c] = scales[first + c] * step;
    kdn_group_offsets(
      path, m, count, basis + first, columns, width, fitting, widths, means + first,
      offsets + first);
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

KDN_INLINE uint32_t kdn_largest_body(const uint32_t *values, uint64_t count) {
  uint32_t largest = 0;
  for (uint64_t i = 0; i < count; i++) largest = values[i] > largest ? values[i] : largest;
  return largest;
}
KDN_PATHS(uint32_t, kdn_largest, (const uint32_t *values, uint64_t count), (values, count))

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
  uint32_t largest = kdn_largest_on(path, sums, columns);
  // Rounding makes a coarse value larger by half a step of it at most.
  uint64_t rounding = coarse * ((1u << shift) >> 1);
  return count > KDN_CHANNELS_MAX / 16 ? UINT64_MAX : largest + rounding;
}

void kdn_column_sums(
  const int16_t *basis, uint64_t rank, uint64_t columns, uint32_t *sums, uint32_t *scratch
) {
  int32_t path = kdn_resolve(KDN_AUTO);
  memset(scratch, 0, columns * sizeof *scratch);
  for (uint64_t n = 0; n < rank; n++, basis += columns) {
    // Beyond so many rows a sum may not fit: no bound.
    if (n >= KDN_CHANNELS_MAX / 16) {
      sums[n] = UINT32_MAX;
      continue;
    }
    kdn_add_sizes_on(path, basis, columns, scratch);
    sums[n] = kdn_largest_on(path, scratch, columns);
  }
}

void kdn_row_sizes(
  const int16_t *basis, uint64_t count, uint64_t columns, uint16_t *sizes
) {
  int32_t path = kdn_resolve(KDN_AUTO);
  for (uint64_t n = 0; n < count; n++, basis += columns) {
    sizes[n] = kdn_row_size_on(path, basis, columns);
  }
}
