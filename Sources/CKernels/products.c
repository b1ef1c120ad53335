#include "products.h"

#include "elements.h"
#include "planes.h"

// A coarse row's value in its own steps.
KDN_INLINE int32_t kdn_coarse(int16_t value, uint32_t shift) {
  int32_t rounded = (value + ((1 << shift) >> 1)) >> shift;
  rounded = rounded > 127 ? 127 : rounded;
  return rounded < -128 ? -128 : rounded;
}

// How many of the coarse coefficients are taken as bytes: by fours.
static uint64_t kdn_byte_count(int32_t path, const uint8_t *classes, uint64_t count) {
  uint64_t coarse = 0;
  if (path != KDN_AVX512) return 0;
  for (uint64_t n = 0; n < count; n++) coarse += classes[n] >> 7;
  return coarse / 4 * 4;
}

void kdn_make_lots(
  kdn_lots *lots, int32_t path, const uint8_t *classes, uint64_t count, uint32_t shift,
  uint32_t *numbers
) {
  uint64_t bytes = kdn_byte_count(path, classes, count), byte = 0, coded = bytes;
  for (uint64_t n = 0; n < count; n++) {
    if (!classes[n]) continue;
    if ((classes[n] & KDN_COARSE) && byte < bytes) numbers[byte++] = (uint32_t)n;
    else numbers[coded++] = (uint32_t)n;
  }
  *lots = (kdn_lots){classes, numbers, bytes, coded - bytes, shift};
}

// MARK: order

// Whether a value is beyond its limit; *largest: the largest size.
KDN_INLINE int32_t kdn_sizes_body(
  const int16_t *restrict q, uint64_t tokens, uint64_t stride, const uint16_t *restrict limits,
  uint32_t *largest
) {
  uint16_t most = 0, beyond = 0;
  for (uint64_t t = 0; t < tokens; t++, q += stride) {
    for (uint64_t i = 0; i < stride; i++) {
      uint16_t size = (uint16_t)(q[i] < 0 ? -q[i] : q[i]);
      most = size > most ? size : most;
      beyond |= size > limits[i];
    }
  }
  *largest = most;
  return beyond;
}
KDN_PATHS(
  int32_t, kdn_sizes,
  (const int16_t *q, uint64_t tokens, uint64_t stride, const uint16_t *limits,
   uint32_t *largest),
  (q, tokens, stride, limits, largest))

#if KDN_X86
// Rows to i16 of what the masks leave out, then bytes of what they name, 128 more than they are.
KDN_TARGET_AVX512 static void kdn_order_rows512(
  int16_t *q, uint64_t tokens, uint64_t stride, const uint32_t *masks, uint64_t words,
  uint64_t bytes, uint8_t *room
) {
  const __m256i bias = _mm256_set1_epi8(-128);
  for (uint64_t t = 0; t < tokens; t++, q += stride) {
    uint64_t word = 0, byte = 0;
    for (uint64_t k = 0; k < stride / KDN_LANES; k++) {
      __m512i values = _mm512_loadu_si512(q + k * KDN_LANES);
      __m256i low = _mm256_xor_si256(_mm512_cvtepi16_epi8(values), bias);
      __mmask32 mask = masks[k];
      // To a register first: compressing to memory is slow on some processors. What is written
      // behind the values lies before what is still to be read.
      _mm256_storeu_si256((void *)(room + byte), _mm256_maskz_compress_epi8(mask, low));
      _mm512_storeu_si512(q + word, _mm512_maskz_compress_epi16(~mask, values));
      uint32_t taken = (uint32_t)_mm_popcnt_u32(mask);
      byte += taken;
      word += KDN_LANES - taken;
    }
    memcpy(q + words, room, bytes);
  }
}
#endif

// Scratch: a limit and a bit of each coded coefficient, and a row of bytes.
uint64_t kdn_order_scratch_bytes(uint64_t count) {
  uint64_t padded = kdn_padded(count);
  return count > KDN_CHANNELS_MAX ? 0 : padded * 4 + 4 * 64;
}

int32_t kdn_transform_order(
  int32_t path, const uint8_t *classes, uint64_t count, uint64_t tokens, int16_t *q,
  uint64_t q_count, uint32_t *largest, void *scratch, uint64_t scratch_bytes
) {
  path = kdn_resolve(path);
  if (!path || count > KDN_CHANNELS_MAX || tokens > KDN_ELEMENTS_MAX) return KDN_BAD_ARGUMENT;
  uint64_t stride = kdn_stride(classes, count);
  if (q_count < stride * tokens) return KDN_NO_ROOM;
  if (scratch_bytes < kdn_order_scratch_bytes(count)) return KDN_NO_ROOM;
  uint64_t bytes = kdn_byte_count(path, classes, count), byte = 0, coded = 0;
  uint8_t *free_scratch = scratch;
  uint16_t *limits = kdn_carve(&free_scratch, stride * 2);
  uint32_t *masks = kdn_carve(&free_scratch, stride / 8);
  uint8_t *room = kdn_carve(&free_scratch, stride + KDN_LANES);
  memset(limits, 0xff, stride * 2);
  memset(masks, 0, stride / 8);
  for (uint64_t n = 0; n < count; n++) {
    if (!classes[n]) continue;
    if (classes[n] & KDN_COARSE) {
      limits[coded] = 127;
      if (byte < bytes) masks[coded / KDN_LANES] |= 1u << coded % KDN_LANES;
      byte++;
    }
    coded++;
  }
  if (kdn_sizes_on(path, q, tokens, stride, limits, largest)) return KDN_OUT_OF_RANGE;
#if KDN_X86
  if (bytes) kdn_order_rows512(q, tokens, stride, masks, coded - bytes, bytes, room);
#endif
  (void)room;
  return KDN_OK;
}

// MARK: panels

KDN_INLINE void kdn_panel_row(
  const kdn_lots *lots, uint64_t index, const int16_t *basis, uint64_t columns, uint64_t width,
  int16_t *row
) {
  uint32_t number = lots->numbers[index];
  if (width == KDN_PANEL) memcpy(row, basis + number * columns, KDN_PANEL * 2);
  else memcpy(row, basis + number * columns, width * 2);
  if (!(lots->classes[number] & KDN_COARSE)) return;
  uint32_t shift = lots->shift;
  for (int c = 0; c < KDN_PANEL; c++) row[c] = (int16_t)(kdn_coarse(row[c], shift) * (1 << shift));
}

// Rows in pairs. Pair k of column c: low half row 2k, high half row 2k + 1.
KDN_INLINE void kdn_pack_pairs_body(
  const kdn_lots *lots, const int16_t *basis, uint64_t columns, uint64_t width, int32_t *panel
) {
  for (uint64_t k = 0; k < lots->words; k += 2, panel += KDN_PANEL) {
    int16_t low[KDN_PANEL] = {0}, high[KDN_PANEL] = {0};
    kdn_panel_row(lots, lots->bytes + k, basis, columns, width, low);
    if (k + 1 < lots->words) {
      kdn_panel_row(lots, lots->bytes + k + 1, basis, columns, width, high);
    }
    for (int c = 0; c < KDN_PANEL; c++) {
      panel[c] = (int32_t)((uint32_t)(uint16_t)high[c] << 16 | (uint16_t)low[c]);
    }
  }
}
KDN_PATHS(
  void, kdn_pack_pairs,
  (const kdn_lots *lots, const int16_t *basis, uint64_t columns, uint64_t width,
   int32_t *panel),
  (lots, basis, columns, width, panel))

#if KDN_X86
// A row's values as bytes in 16 bits. Saturating at 2^15 makes no difference: such values are
// beyond a byte all the same.
KDN_TARGET_AVX512 KDN_INLINE __m512i kdn_coarse512(
  const int16_t *row, __mmask32 mask, __m512i half, __m128i shift
) {
  __m512i values = _mm512_adds_epi16(_mm512_maskz_loadu_epi16(mask, row), half);
  values = _mm512_min_epi16(_mm512_sra_epi16(values, shift), _mm512_set1_epi16(127));
  return _mm512_max_epi16(values, _mm512_set1_epi16(-128));
}

KDN_TARGET_AVX512 KDN_INLINE __m512i kdn_two_bytes(__m512i low, __m512i high) {
  return _mm512_or_si512(
    _mm512_and_si512(low, _mm512_set1_epi16(0xff)), _mm512_slli_epi16(high, 8));
}

KDN_TARGET_AVX512 KDN_INLINE __m512i kdn_four_bytes(__m256i low, __m256i high) {
  return _mm512_or_si512(
    _mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}

// Rows in fours. Four k of column c: rows 4k to 4k + 3, the lowest byte first. q is 128 more than
// it is, so 128 times the sum of a column is too much: `added` makes up for it.
KDN_TARGET_AVX512 static void kdn_pack_fours512(
  const kdn_lots *lots, const int16_t *basis, uint64_t columns, uint64_t width, int32_t *added,
  int32_t *panel
) {
  const __m512i ones = _mm512_set1_epi8(1);
  const __m512i half = _mm512_set1_epi16((int16_t)((1 << lots->shift) >> 1));
  const __m128i shift = _mm_cvtsi32_si128((int)lots->shift);
  __mmask32 mask = (__mmask32)(0xffffffffu >> (KDN_PANEL - width));
  __m512i sums[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  for (uint64_t k = 0; k < lots->bytes; k += 4, panel += KDN_PANEL) {
    __m512i rows[4];
    for (int i = 0; i < 4; i++) {
      rows[i] = kdn_coarse512(basis + lots->numbers[k + i] * columns, mask, half, shift);
    }
    __m512i low = kdn_two_bytes(rows[0], rows[1]), high = kdn_two_bytes(rows[2], rows[3]);
    __m512i first = kdn_four_bytes(_mm512_castsi512_si256(low), _mm512_castsi512_si256(high));
    __m512i second = kdn_four_bytes(
      _mm512_extracti64x4_epi64(low, 1), _mm512_extracti64x4_epi64(high, 1));
    sums[0] = _mm512_dpbusd_epi32(sums[0], ones, first);
    sums[1] = _mm512_dpbusd_epi32(sums[1], ones, second);
    _mm512_storeu_si512(panel, first);
    _mm512_storeu_si512(panel + 16, second);
  }
  for (int i = 0; i < 2; i++) {
    __m512i excess = _mm512_slli_epi32(sums[i], 7);
    _mm512_storeu_si512(added + 16 * i, _mm512_sub_epi32(_mm512_setzero_si512(), excess));
  }
}
#endif

void kdn_pack_panel(
  int32_t path, const kdn_lots *lots, const int16_t *basis, uint64_t columns, uint64_t width,
  int32_t *panel
) {
  int32_t *fours = panel + KDN_PANEL;
#if KDN_X86
  if (path == KDN_AVX512) kdn_pack_fours512(lots, basis, columns, width, panel, fours);
#endif
  kdn_pack_pairs_on(path, lots, basis, columns, width, fours + lots->bytes / 4 * KDN_PANEL);
}

// MARK: tiles

static void kdn_tile_scalar(
  const kdn_lots *lots, const int16_t *q, uint64_t stride, uint64_t tokens,
  const int32_t *panel, int32_t *sums
) {
  for (uint64_t t = 0; t < tokens; t++, q += stride, sums += KDN_PANEL) {
    uint32_t acc[KDN_PANEL] = {0};
    for (uint64_t k = 0; k < (lots->words + 1) / 2; k++) {
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
  const kdn_lots *lots, const int16_t *q, uint64_t stride, uint64_t tokens,
  const int32_t *panel, int32_t *sums
) {
  uint64_t pairs = (lots->words + 1) / 2;
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

KDN_TARGET_AVX512 KDN_INLINE __m512i kdn_dword512(const void *q) {
  return _mm512_set1_epi32((int)kdn_u32(q));
}

// ROWS tokens x 32 columns: bytes by fours, shifted, then i16 by twos.
#define KDN_TILE512(ROWS)                                                                   \
  KDN_TARGET_AVX512 static void kdn_tile512_##ROWS(                                         \
    const kdn_lots *lots, const int16_t *q, uint64_t stride, const int32_t *added,          \
    int32_t *sums                                                                           \
  ) {                                                                                       \
    const int32_t *panel = added + KDN_PANEL;                                               \
    __m512i acc[ROWS][2];                                                                   \
    _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                               \
      acc[t][0] = _mm512_loadu_si512(added);                                                \
      acc[t][1] = _mm512_loadu_si512(added + 16);                                           \
    }                                                                                       \
    const int16_t *bytes = q + lots->words;                                                 \
    for (uint64_t k = 0; k < lots->bytes; k += 4, bytes += 2, panel += KDN_PANEL) {         \
      __m512i b0 = _mm512_loadu_si512(panel), b1 = _mm512_loadu_si512(panel + 16);          \
      _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                             \
        __m512i four = kdn_dword512(bytes + (uint64_t)t * stride);                          \
        acc[t][0] = _mm512_dpbusd_epi32(acc[t][0], four, b0);                               \
        acc[t][1] = _mm512_dpbusd_epi32(acc[t][1], four, b1);                               \
      }                                                                                     \
    }                                                                                       \
    __m128i shift = _mm_cvtsi32_si128((int)lots->shift);                                    \
    _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                               \
      acc[t][0] = _mm512_sll_epi32(acc[t][0], shift);                                       \
      acc[t][1] = _mm512_sll_epi32(acc[t][1], shift);                                       \
    }                                                                                       \
    for (uint64_t k = 0; k < lots->words; k += 2, panel += KDN_PANEL) {                     \
      __m512i b0 = _mm512_loadu_si512(panel), b1 = _mm512_loadu_si512(panel + 16);          \
      _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                             \
        __m512i pair = kdn_dword512(q + (uint64_t)t * stride + k);                          \
        acc[t][0] = _mm512_dpwssd_epi32(acc[t][0], pair, b0);                               \
        acc[t][1] = _mm512_dpwssd_epi32(acc[t][1], pair, b1);                               \
      }                                                                                     \
    }                                                                                       \
    _Pragma("GCC unroll 16") for (int t = 0; t < ROWS; t++) {                               \
      _mm512_storeu_si512(sums + t * KDN_PANEL, acc[t][0]);                                 \
      _mm512_storeu_si512(sums + t * KDN_PANEL + 16, acc[t][1]);                            \
    }                                                                                       \
  }
KDN_TILE512(1)
KDN_TILE512(4)
KDN_TILE512(12)

KDN_TARGET_AVX512 static void kdn_tile_avx512(
  const kdn_lots *lots, const int16_t *q, uint64_t stride, uint64_t tokens,
  const int32_t *panel, int32_t *sums
) {
  if (tokens == KDN_TILE) return kdn_tile512_12(lots, q, stride, panel, sums);
  uint64_t t = 0;
  for (; t + 4 <= tokens; t += 4) {
    kdn_tile512_4(lots, q + t * stride, stride, panel, sums + t * KDN_PANEL);
  }
  if (t == tokens) return;
  // A row by itself takes as long as four; what was done before is done again.
  if (tokens > 4) {
    t = tokens - 4;
    return kdn_tile512_4(lots, q + t * stride, stride, panel, sums + t * KDN_PANEL);
  }
  for (; t < tokens; t++) {
    kdn_tile512_1(lots, q + t * stride, stride, panel, sums + t * KDN_PANEL);
  }
}
#endif

void kdn_tile(
  int32_t path, const kdn_lots *lots, const int16_t *q, uint64_t stride, uint64_t tokens,
  const int32_t *panel, int32_t *sums
) {
#if KDN_X86
  if (path == KDN_AVX512) return kdn_tile_avx512(lots, q, stride, tokens, panel, sums);
  if (path == KDN_AVX2) {
    return kdn_tile_avx2(lots, q, stride, tokens, panel + KDN_PANEL, sums);
  }
#endif
  (void)path;
  kdn_tile_scalar(lots, q, stride, tokens, panel + KDN_PANEL, sums);
}
