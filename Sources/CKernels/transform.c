#include "elements.h"
#include "planes.h"

// Columns of a panel: two AVX-512 registers of i32.
#define KDN_PANEL 32
// Tokens of a tile: 24 accumulators.
#define KDN_TILE 12

// Basis rows of the coded coefficients in pairs, for KDN_PANEL columns: what streams through a
// tile. Pair k of column c: low half row 2k, high half row 2k + 1.
KDN_INLINE void kdn_pack_panel_body(
  const uint32_t *numbers, uint64_t coded, const int16_t *basis, uint64_t columns,
  uint64_t width, int32_t *panel
) {
  for (uint64_t k = 0; k < coded; k += 2, panel += KDN_PANEL) {
    int16_t low[KDN_PANEL] = {0}, high[KDN_PANEL] = {0};
    const int16_t *first = basis + numbers[k] * columns;
    if (width == KDN_PANEL && k + 1 < coded) {
      // The usual case: lengths that the compiler knows.
      memcpy(low, first, sizeof low);
      memcpy(high, basis + numbers[k + 1] * columns, sizeof high);
    } else {
      memcpy(low, first, width * 2);
      if (k + 1 < coded) memcpy(high, basis + numbers[k + 1] * columns, width * 2);
    }
    for (int c = 0; c < KDN_PANEL; c++) {
      panel[c] = (int32_t)((uint32_t)(uint16_t)high[c] << 16 | (uint16_t)low[c]);
    }
  }
}
KDN_PATHS(
  void, kdn_pack_panel,
  (const uint32_t *numbers, uint64_t coded, const int16_t *basis, uint64_t columns,
   uint64_t width, int32_t *panel),
  (numbers, coded, basis, columns, width, panel))

// acc[t][c] of `tokens` rows of q and a panel, `sums` rows KDN_PANEL long.
static void kdn_tile_scalar(
  const int16_t *q, uint64_t stride, uint64_t tokens, uint64_t pairs, const int32_t *panel,
  int32_t *sums
) {
  for (uint64_t t = 0; t < tokens; t++, q += stride, sums += KDN_PANEL) {
    uint32_t acc[KDN_PANEL] = {0};
    for (uint64_t k = 0; k < pairs; k++) {
      int32_t low = q[2 * k], high = q[2 * k + 1];
      for (int c = 0; c < KDN_PANEL; c++) {
        int32_t pair = panel[k * KDN_PANEL + c];
        acc[c] += (uint32_t)(low * (int16_t)pair) + (uint32_t)(high * (pair >> 16));
      }
    }
    memcpy(sums, acc, sizeof acc);
  }
}

#if KDN_X86
KDN_TARGET_AVX2 KDN_INLINE __m256i kdn_pair256(const int16_t *q) {
  return _mm256_set1_epi32((int)kdn_u32((const uint8_t *)q));
}

// ROWS tokens x 16 columns.
#define KDN_TILE256(ROWS)                                                                  \
  KDN_TARGET_AVX2 static void kdn_tile256_##ROWS(                                          \
    const int16_t *q, uint64_t stride, uint64_t pairs, const int32_t *panel, int32_t *sums \
  ) {                                                                                      \
    __m256i acc[ROWS][2];                                                                  \
    _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                              \
      acc[t][0] = acc[t][1] = _mm256_setzero_si256();                                      \
    }                                                                                      \
    for (uint64_t k = 0; k < pairs; k++, panel += KDN_PANEL) {                             \
      __m256i b0 = _mm256_loadu_si256((const void *)panel);                                \
      __m256i b1 = _mm256_loadu_si256((const void *)(panel + 8));                          \
      _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                            \
        __m256i pair = kdn_pair256(q + (uint64_t)t * stride + 2 * k);                      \
        acc[t][0] = _mm256_add_epi32(acc[t][0], _mm256_madd_epi16(pair, b0));              \
        acc[t][1] = _mm256_add_epi32(acc[t][1], _mm256_madd_epi16(pair, b1));              \
      }                                                                                    \
    }                                                                                      \
    _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                              \
      _mm256_storeu_si256((void *)(sums + t * KDN_PANEL), acc[t][0]);                      \
      _mm256_storeu_si256((void *)(sums + t * KDN_PANEL + 8), acc[t][1]);                  \
    }                                                                                      \
  }
KDN_TILE256(1)
KDN_TILE256(4)

KDN_TARGET_AVX2 static void kdn_tile_avx2(
  const int16_t *q, uint64_t stride, uint64_t tokens, uint64_t pairs, const int32_t *panel,
  int32_t *sums
) {
  for (uint64_t c = 0; c < KDN_PANEL; c += 16) {
    uint64_t t = 0;
    for (; t + 4 <= tokens; t += 4) {
      kdn_tile256_4(q + t * stride, stride, pairs, panel + c, sums + t * KDN_PANEL + c);
    }
    for (; t < tokens; t++) {
      kdn_tile256_1(q + t * stride, stride, pairs, panel + c, sums + t * KDN_PANEL + c);
    }
  }
}

KDN_TARGET_AVX512 KDN_INLINE __m512i kdn_pair512(const int16_t *q) {
  return _mm512_set1_epi32((int)kdn_u32((const uint8_t *)q));
}

// ROWS tokens x 32 columns.
#define KDN_TILE512(ROWS)                                                                  \
  KDN_TARGET_AVX512 static void kdn_tile512_##ROWS(                                        \
    const int16_t *q, uint64_t stride, uint64_t pairs, const int32_t *panel, int32_t *sums \
  ) {                                                                                      \
    __m512i acc[ROWS][2];                                                                  \
    _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                              \
      acc[t][0] = acc[t][1] = _mm512_setzero_si512();                                      \
    }                                                                                      \
    for (uint64_t k = 0; k < pairs; k++, panel += KDN_PANEL) {                             \
      __m512i b0 = _mm512_loadu_si512(panel), b1 = _mm512_loadu_si512(panel + 16);         \
      _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                            \
        __m512i pair = kdn_pair512(q + (uint64_t)t * stride + 2 * k);                      \
        acc[t][0] = _mm512_dpwssd_epi32(acc[t][0], pair, b0);                              \
        acc[t][1] = _mm512_dpwssd_epi32(acc[t][1], pair, b1);                              \
      }                                                                                    \
    }                                                                                      \
    _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                              \
      _mm512_storeu_si512(sums + t * KDN_PANEL, acc[t][0]);                                \
      _mm512_storeu_si512(sums + t * KDN_PANEL + 16, acc[t][1]);                           \
    }                                                                                      \
  }
KDN_TILE512(1)
KDN_TILE512(4)
KDN_TILE512(12)

KDN_TARGET_AVX512 static void kdn_tile_avx512(
  const int16_t *q, uint64_t stride, uint64_t tokens, uint64_t pairs, const int32_t *panel,
  int32_t *sums
) {
  if (tokens == KDN_TILE) return kdn_tile512_12(q, stride, pairs, panel, sums);
  uint64_t t = 0;
  for (; t + 4 <= tokens; t += 4) {
    kdn_tile512_4(q + t * stride, stride, pairs, panel, sums + t * KDN_PANEL);
  }
  for (; t < tokens; t++) {
    kdn_tile512_1(q + t * stride, stride, pairs, panel, sums + t * KDN_PANEL);
  }
}
#endif

static void kdn_tile(
  int32_t path, const int16_t *q, uint64_t stride, uint64_t tokens, uint64_t pairs,
  const int32_t *panel, int32_t *sums
) {
#if KDN_X86
  if (path == KDN_AVX512) return kdn_tile_avx512(q, stride, tokens, pairs, panel, sums);
  if (path == KDN_AVX2) return kdn_tile_avx2(q, stride, tokens, pairs, panel, sums);
#endif
  (void)path;
  kdn_tile_scalar(q, stride, tokens, pairs, panel, sums);
}

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
  return padded / 2 * KDN_PANEL * 4 + padded * 4 + plane->tokens * plane->dims * 4 + 3 * 64;
}

int32_t kdn_transform_reconstruct(
  int32_t path, const kdn_plane *plane, const uint8_t *classes, uint64_t count,
  const int16_t *basis, uint64_t basis_columns, uint64_t first_column, const float *scales,
  const float *offsets, float step, const int16_t *q, uint64_t q_count, void *scratch,
  uint64_t scratch_bytes, void *out, uint64_t out_bytes
) {
  path = kdn_resolve(path);
  int32_t result = kdn_check_plane(plane, path, out_bytes);
  if (result != KDN_OK) return result;
  if (count > KDN_CHANNELS_MAX || basis_columns > KDN_ELEMENTS_MAX) return KDN_BAD_ARGUMENT;
  if (first_column > basis_columns) return KDN_BAD_ARGUMENT;
  if (basis_columns - first_column < kdn_channels(plane)) return KDN_BAD_ARGUMENT;
  if (scratch_bytes < kdn_transform_scratch_bytes(plane, count)) return KDN_NO_ROOM;
  uint64_t stride = kdn_stride(classes, count), coded = 0;
  if (q_count < stride * plane->tokens) return KDN_NO_ROOM;
  uint8_t *free_scratch = scratch;
  int32_t *panel = kdn_carve(&free_scratch, stride / 2 * KDN_PANEL * 4);
  uint32_t *numbers = kdn_carve(&free_scratch, stride * 4);
  float *rows = kdn_carve(&free_scratch, plane->tokens * plane->dims * 4);
  for (uint64_t n = 0; n < count; n++) {
    if (classes[n]) numbers[coded++] = (uint32_t)n;
  }
  uint32_t before = kdn_ieee_begin();
  for (uint64_t h = 0; h < plane->heads; h++) {
    for (uint64_t first = 0; first < plane->dims; first += KDN_PANEL) {
      uint64_t channel = h * plane->dims + first;
      uint64_t width = plane->dims - first < KDN_PANEL ? plane->dims - first : KDN_PANEL;
      float widths[KDN_PANEL];
      for (uint64_t c = 0; c < width; c++) widths[c] = scales[channel + c] * step;
      kdn_pack_panel_on(
        path, numbers, coded, basis + first_column + channel, basis_columns, width, panel);
      for (uint64_t t = 0; t < plane->tokens; t += KDN_TILE) {
        int32_t sums[KDN_TILE * KDN_PANEL];
        uint64_t tokens = plane->tokens - t < KDN_TILE ? plane->tokens - t : KDN_TILE;
        kdn_tile(path, q + t * stride, stride, tokens, (coded + 1) / 2, panel, sums);
        kdn_scale_on(
          path, sums, tokens, width, widths, offsets + channel, rows + t * plane->dims + first,
          plane->dims);
      }
    }
    kdn_finish_on(path, plane, h, rows, out);
  }
  kdn_ieee_end(before);
  return KDN_OK;
}

// Columns whose sums stay in registers.
#define KDN_SUMS 64

// Sums over n of m[n] * basis[n][c] of `width` columns.
KDN_INLINE void kdn_mean_sums_body(
  const int16_t *m, uint64_t count, const int16_t *basis, uint64_t columns, uint64_t width,
  int64_t *sums
) {
  int64_t local[KDN_SUMS] = {0};
  for (uint64_t n = 0; n < count; n++, basis += columns) {
    if (!m[n]) continue;
    for (uint64_t c = 0; c < width; c++) local[c] += (int32_t)m[n] * basis[c];
  }
  memcpy(sums, local, width * sizeof *sums);
}
KDN_INLINE void kdn_mean_sums_group_body(
  const int16_t *m, uint64_t count, const int16_t *basis, uint64_t columns, uint64_t width,
  int64_t *sums
) {
  // A constant width lets the loop over columns become whole vectors.
  if (width == KDN_SUMS) kdn_mean_sums_body(m, count, basis, columns, KDN_SUMS, sums);
  else kdn_mean_sums_body(m, count, basis, columns, width, sums);
}
KDN_PATHS(
  void, kdn_mean_sums_group,
  (const int16_t *m, uint64_t count, const int16_t *basis, uint64_t columns, uint64_t width,
   int64_t *sums),
  (m, count, basis, columns, width, sums))

int32_t kdn_transform_offsets(
  const int16_t *m, uint64_t count, const int16_t *basis, uint64_t columns, const float *scales,
  const float *means, float step, float *offsets
) {
  if (count > KDN_CHANNELS_MAX || columns > KDN_ELEMENTS_MAX) return KDN_BAD_ARGUMENT;
  int32_t path = kdn_resolve(KDN_AUTO);
  uint32_t before = kdn_ieee_begin();
  for (uint64_t first = 0; first < columns; first += KDN_SUMS) {
    int64_t sums[KDN_SUMS];
    uint64_t width = columns - first < KDN_SUMS ? columns - first : KDN_SUMS;
    kdn_mean_sums_group_on(path, m, count, basis + first, columns, width, sums);
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

uint64_t kdn_column_bound(
  const uint8_t *classes, uint64_t count, const int16_t *basis, uint64_t columns,
  uint32_t *sums
) {
  int32_t path = kdn_resolve(KDN_AUTO);
  memset(sums, 0, columns * sizeof *sums);
  for (uint64_t n = 0; n < count && n < KDN_CHANNELS_MAX / 16; n++) {
    if (classes[n]) kdn_add_sizes_on(path, basis + n * columns, columns, sums);
  }
  uint32_t largest = 0;
  for (uint64_t c = 0; c < columns; c++) largest = sums[c] > largest ? sums[c] : largest;
  return count > KDN_CHANNELS_MAX / 16 ? UINT64_MAX : largest;
}

uint32_t kdn_largest(const int16_t *q, uint64_t q_count) {
  int16_t low = 0, high = 0;
  for (uint64_t i = 0; i < q_count; i++) {
    low = q[i] < low ? q[i] : low;
    high = q[i] > high ? q[i] : high;
  }
  return (uint32_t)(-(int32_t)low > high ? -(int32_t)low : high);
}
