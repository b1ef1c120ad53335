#include "elements.h"
#include "planes.h"

// The forward transform: coefficients = normalised rows times the basis, f32. Encoding only, so
// fused operations are welcome.

#define KDN_PANEL 32
#define KDN_TILE 12

#if KDN_X86
#define KDN_TARGET_FMA __attribute__((target("avx2,fma")))
#endif

// 32 rows of the basis side by side, for columns from `first` on: panel[c * 32 + n].
static void kdn_pack_rows(
  const int16_t *basis, uint64_t columns, uint64_t first, uint64_t width, float *panel
) {
  for (uint64_t c = first; c < columns; c += 16) {
    uint64_t cut = columns - c < 16 ? columns - c : 16;
    for (uint64_t n = 0; n < KDN_PANEL; n++) {
      for (uint64_t i = 0; i < cut; i++) {
        float value = n < width ? (float)basis[n * columns + c + i] * 0x1p-15f : 0.0f;
        panel[(c + i) * KDN_PANEL + n] = value;
      }
    }
  }
}

#if KDN_X86
// 16 x 16: element l of row i and element i of row l change places, a bit of the numbers at a time.
KDN_TARGET_AVX512 KDN_INLINE void kdn_transpose512(__m512 rows[16]) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  _Pragma("GCC unroll 4") for (int bit = 1; bit < 16; bit <<= 1) {
    __m512i step = _mm512_set1_epi32(bit);
    __mmask16 set = _mm512_test_epi32_mask(lanes, step);
    // A number from 16 on is of the second row.
    __m512i low = _mm512_mask_add_epi32(
      lanes, set, lanes, _mm512_set1_epi32(16 - bit));
    __m512i high = _mm512_add_epi32(lanes, _mm512_mask_blend_epi32(
      set, step, _mm512_set1_epi32(16)));
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++) {
      if (i & bit) continue;
      __m512 first = rows[i], second = rows[i + bit];
      rows[i] = _mm512_permutex2var_ps(first, low, second);
      rows[i + bit] = _mm512_permutex2var_ps(first, high, second);
    }
  }
}

// The same of 32 rows and as many columns as come in sixteens: how many those are.
KDN_TARGET_AVX512 static uint64_t kdn_pack_rows512(
  const int16_t *basis, uint64_t columns, float *panel
) {
  uint64_t c = 0;
  for (; c + 16 <= columns; c += 16) {
    for (uint64_t n = 0; n < KDN_PANEL; n += 16) {
      __m512 rows[16];
      _Pragma("GCC unroll 16") for (uint64_t i = 0; i < 16; i++) {
        const int16_t *row = basis + (n + i) * columns + c;
        __m512i whole = _mm512_cvtepi16_epi32(_mm256_loadu_si256((const void *)row));
        rows[i] = _mm512_mul_ps(_mm512_cvtepi32_ps(whole), _mm512_set1_ps(0x1p-15f));
      }
      kdn_transpose512(rows);
      _Pragma("GCC unroll 16") for (uint64_t i = 0; i < 16; i++) {
        _mm512_storeu_ps(panel + (c + i) * KDN_PANEL + n, rows[i]);
      }
    }
  }
  return c;
}
#endif

// x less the mean, in units of the scale.
KDN_INLINE void kdn_normalise_body(
  const float *restrict x, uint64_t tokens, uint64_t columns, const float *restrict means,
  const float *restrict inverse_scales, float *restrict rows
) {
  for (uint64_t t = 0; t < tokens; t++, x += columns, rows += columns) {
    for (uint64_t c = 0; c < columns; c++) rows[c] = (x[c] - means[c]) * inverse_scales[c];
  }
}
KDN_PATHS(
  void, kdn_normalise,
  (const float *x, uint64_t tokens, uint64_t columns, const float *means,
   const float *inverse_scales, float *rows),
  (x, tokens, columns, means, inverse_scales, rows))

static void kdn_dots_scalar(
  const float *x, uint64_t columns, uint64_t tokens, const float *panel, float *sums
) {
  for (uint64_t t = 0; t < tokens; t++, x += columns, sums += KDN_PANEL) {
    float acc[KDN_PANEL] = {0};
    for (uint64_t c = 0; c < columns; c++) {
      for (int n = 0; n < KDN_PANEL; n++) acc[n] += x[c] * panel[c * KDN_PANEL + n];
    }
    memcpy(sums, acc, sizeof acc);
  }
}

#if KDN_X86
#define KDN_DOTS256(ROWS)                                                                  \
  KDN_TARGET_FMA static void kdn_dots256_##ROWS(                                           \
    const float *x, uint64_t columns, const float *panel, float *sums                      \
  ) {                                                                                      \
    __m256 acc[ROWS][2];                                                                   \
    _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                              \
      acc[t][0] = acc[t][1] = _mm256_setzero_ps();                                         \
    }                                                                                      \
    for (uint64_t c = 0; c < columns; c++, panel += KDN_PANEL) {                           \
      __m256 b0 = _mm256_loadu_ps(panel), b1 = _mm256_loadu_ps(panel + 8);                 \
      _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                            \
        __m256 value = _mm256_set1_ps(x[(uint64_t)t * columns + c]);                       \
        acc[t][0] = _mm256_fmadd_ps(value, b0, acc[t][0]);                                 \
        acc[t][1] = _mm256_fmadd_ps(value, b1, acc[t][1]);                                 \
      }                                                                                    \
    }                                                                                      \
    _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                              \
      _mm256_storeu_ps(sums + t * KDN_PANEL, acc[t][0]);                                   \
      _mm256_storeu_ps(sums + t * KDN_PANEL + 8, acc[t][1]);                               \
    }                                                                                      \
  }
KDN_DOTS256(1)
KDN_DOTS256(6)

KDN_TARGET_FMA static void kdn_dots_avx2(
  const float *x, uint64_t columns, uint64_t tokens, const float *panel, float *sums
) {
  for (uint64_t n = 0; n < KDN_PANEL; n += 16) {
    uint64_t t = 0;
    for (; t + 6 <= tokens; t += 6) {
      kdn_dots256_6(x + t * columns, columns, panel + n, sums + t * KDN_PANEL + n);
    }
    for (; t < tokens; t++) {
      kdn_dots256_1(x + t * columns, columns, panel + n, sums + t * KDN_PANEL + n);
    }
  }
}

#define KDN_DOTS512(ROWS)                                                                  \
  KDN_TARGET_AVX512 static void kdn_dots512_##ROWS(                                        \
    const float *x, uint64_t columns, const float *panel, float *sums                      \
  ) {                                                                                      \
    __m512 acc[ROWS][2];                                                                   \
    _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                              \
      acc[t][0] = acc[t][1] = _mm512_setzero_ps();                                         \
    }                                                                                      \
    for (uint64_t c = 0; c < columns; c++, panel += KDN_PANEL) {                           \
      __m512 b0 = _mm512_loadu_ps(panel), b1 = _mm512_loadu_ps(panel + 16);                \
      _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                            \
        __m512 value = _mm512_set1_ps(x[(uint64_t)t * columns + c]);                       \
        acc[t][0] = _mm512_fmadd_ps(value, b0, acc[t][0]);                                 \
        acc[t][1] = _mm512_fmadd_ps(value, b1, acc[t][1]);                                 \
      }                                                                                    \
    }                                                                                      \
    _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                              \
      _mm512_storeu_ps(sums + t * KDN_PANEL, acc[t][0]);                                   \
      _mm512_storeu_ps(sums + t * KDN_PANEL + 16, acc[t][1]);                              \
    }                                                                                      \
  }
KDN_DOTS512(1)
KDN_DOTS512(12)

KDN_TARGET_AVX512 static void kdn_dots_avx512(
  const float *x, uint64_t columns, uint64_t tokens, const float *panel, float *sums
) {
  if (tokens == KDN_TILE) return kdn_dots512_12(x, columns, panel, sums);
  for (uint64_t t = 0; t < tokens; t++) {
    kdn_dots512_1(x + t * columns, columns, panel, sums + t * KDN_PANEL);
  }
}
#endif

static void kdn_dots(
  int32_t path, const float *x, uint64_t columns, uint64_t tokens, const float *panel,
  float *sums
) {
#if KDN_X86
  if (path == KDN_AVX512) return kdn_dots_avx512(x, columns, tokens, panel, sums);
  if (path == KDN_AVX2 && __builtin_cpu_supports("fma")) {
    return kdn_dots_avx2(x, columns, tokens, panel, sums);
  }
#endif
  (void)path;
  kdn_dots_scalar(x, columns, tokens, panel, sums);
}

// Scratch: normalised rows and a panel.
uint64_t kdn_project_scratch_bytes(uint64_t tokens, uint64_t columns) {
  if (!columns || columns > KDN_CHANNELS_MAX || tokens > KDN_ELEMENTS_MAX / columns) return 0;
  return tokens * columns * 4 + columns * KDN_PANEL * 4 + 2 * 64;
}

int32_t kdn_project(
  int32_t path, const float *x, uint64_t tokens, uint64_t columns, const float *means,
  const float *inverse_scales, const int16_t *basis, uint64_t count, float *y, void *scratch,
  uint64_t scratch_bytes
) {
  path = kdn_resolve(path);
  uint64_t needed = kdn_project_scratch_bytes(tokens, columns);
  if (!path || !needed || count > KDN_CHANNELS_MAX) return KDN_BAD_ARGUMENT;
  if (scratch_bytes < needed) return KDN_NO_ROOM;
  uint8_t *free_scratch = scratch;
  float *rows = kdn_carve(&free_scratch, tokens * columns * 4);
  float *panel = kdn_carve(&free_scratch, columns * KDN_PANEL * 4);
  kdn_normalise_on(path, x, tokens, columns, means, inverse_scales, rows);
  for (uint64_t n = 0; n < count; n += KDN_PANEL) {
    uint64_t width = count - n < KDN_PANEL ? count - n : KDN_PANEL;
    uint64_t packed = 0;
#if KDN_X86
    if (path == KDN_AVX512 && width == KDN_PANEL) {
      packed = kdn_pack_rows512(basis + n * columns, columns, panel);
    }
#endif
    kdn_pack_rows(basis + n * columns, columns, packed, width, panel);
    for (uint64_t t = 0; t < tokens; t += KDN_TILE) {
      float sums[KDN_TILE * KDN_PANEL];
      uint64_t some = tokens - t < KDN_TILE ? tokens - t : KDN_TILE;
      kdn_dots(path, rows + t * columns, columns, some, panel, sums);
      for (uint64_t i = 0; i < some; i++) {
        memcpy(y + (t + i) * count + n, sums + i * KDN_PANEL, width * sizeof *y);
      }
    }
  }
  return KDN_OK;
}
