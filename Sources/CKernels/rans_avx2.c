#include "internal.h"

#if KDN_X86

#include "lane_tables.inc"

#define KDN_STEP_WORDS 64
#define KDN_QUARTERS 4

// Eight lanes numbers of a table entry as i32.
KDN_TARGET_AVX2 KDN_INLINE __m256i kdn_lane_numbers(uint64_t packed) {
  return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)packed));
}

// One step of 8 lanes: the symbols as i32.
KDN_TARGET_AVX2 KDN_INLINE __m256i kdn_step256(
  __m256i *states, __m256i bases, const uint32_t *tables, const uint8_t **words
) {
  const __m256i field_mask = _mm256_set1_epi32(0xfff);
  __m256i x = *states;
  __m256i index = _mm256_add_epi32(
    _mm256_and_si256(x, _mm256_set1_epi32(KDN_SLOTS - 1)), bases);
  __m256i entry = _mm256_i32gather_epi32((const int *)tables, index, 4);
  __m256i frequency = _mm256_and_si256(entry, field_mask);
  __m256i bias = _mm256_and_si256(_mm256_srli_epi32(entry, 12), field_mask);
  x = _mm256_mullo_epi32(_mm256_srli_epi32(x, KDN_TABLE_BITS), frequency);
  x = _mm256_add_epi32(x, bias);
  __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(x, 16), _mm256_setzero_si256());
  uint32_t mask = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(low));
  __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)*words));
  next = _mm256_permutevar8x32_epi32(next, kdn_lane_numbers(kdn_expand_lanes[mask]));
  next = _mm256_or_si256(_mm256_slli_epi32(x, 16), next);
  *states = _mm256_blendv_epi8(x, next, low);
  *words += 2 * (uint32_t)__builtin_popcount(mask);
  return _mm256_srai_epi32(entry, 24);
}

// Two quarters of symbols to 16 in order.
KDN_TARGET_AVX2 KDN_INLINE __m256i kdn_pack256(__m256i first, __m256i second) {
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), 0xd8);
}

KDN_TARGET_AVX2 int32_t kdn_decode_block_avx2(kdn_reader *reader, uint64_t tokens) {
  __m256i states[KDN_QUARTERS], base[KDN_QUARTERS];
  for (int i = 0; i < KDN_QUARTERS; i++) {
    states[i] = _mm256_loadu_si256((const void *)(reader->states + 8 * i));
    base[i] = _mm256_loadu_si256((const void *)(reader->bases + 8 * i));
  }
  int16_t *q = reader->q;
  const __m256i escape = _mm256_set1_epi16(-128);
  const uint8_t *words = reader->words;
  uint8_t rest[4 * KDN_STEP_WORDS + 64];
  const uint8_t *rest_end = NULL;
  for (uint64_t t = 0; t < tokens; t++, q += reader->stride) {
    if (!rest_end && reader->end - words < 2 * KDN_STEP_WORDS) {
      // Too near the end for whole loads: go on in a copy that has room behind it.
      size_t left = (size_t)(reader->end - words);
      memset(rest, 0, sizeof rest);
      memcpy(rest, words, left);
      words = rest;
      rest_end = rest + left;
    }
    __m256i s0 = kdn_step256(&states[0], base[0], reader->tables, &words);
    __m256i s1 = kdn_step256(&states[1], base[1], reader->tables, &words);
    __m256i s2 = kdn_step256(&states[2], base[2], reader->tables, &words);
    __m256i s3 = kdn_step256(&states[3], base[3], reader->tables, &words);
    if (rest_end && words > rest_end) return KDN_TRUNCATED;
    __m256i low = kdn_pack256(s0, s1), high = kdn_pack256(s2, s3);
    _mm256_storeu_si256((void *)q, low);
    _mm256_storeu_si256((void *)(q + 16), high);
    __m256i escaped = _mm256_or_si256(
      _mm256_cmpeq_epi16(low, escape), _mm256_cmpeq_epi16(high, escape));
    if (__builtin_expect(_mm256_movemask_epi8(escaped) != 0, 0)) {
      int32_t result = kdn_patch_escapes(reader, q);
      if (result != KDN_OK) return result;
    }
  }
  reader->words = rest_end ? reader->end - (rest_end - words) : words;
  for (int i = 0; i < KDN_QUARTERS; i++) {
    _mm256_storeu_si256((void *)(reader->states + 8 * i), states[i]);
  }
  return KDN_OK;
}

// MARK: encoding

// floor(x * reciprocal / 2^32) of 8 lanes.
KDN_TARGET_AVX2 KDN_INLINE __m256i kdn_mulhi256(__m256i x, __m256i reciprocal) {
  __m256i even = _mm256_mul_epu32(x, reciprocal);
  __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), _mm256_srli_epi64(reciprocal, 32));
  return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}

// a >= b of values below 2^32.
KDN_TARGET_AVX2 KDN_INLINE __m256i kdn_not_less256(__m256i a, __m256i b) {
  return _mm256_cmpeq_epi32(_mm256_max_epu32(a, b), a);
}

KDN_TARGET_AVX2 KDN_INLINE uint32_t kdn_mask256(__m256i lanes) {
  return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(lanes));
}

// Writes the low halves of the lanes in `mask` below writer->words.
KDN_TARGET_AVX2 KDN_INLINE int32_t kdn_emit256(kdn_writer *writer, __m256i x, uint32_t mask) {
  uint32_t taken = (uint32_t)__builtin_popcount(mask);
  if (writer->words - writer->floor < 16) {
    if (writer->words - writer->floor < 2 * (ptrdiff_t)taken) return KDN_NO_ROOM;
  }
  uint16_t room[8];
  x = _mm256_permutevar8x32_epi32(x, kdn_lane_numbers(kdn_compress_lanes[mask]));
  x = _mm256_and_si256(x, _mm256_set1_epi32(0xffff));
  x = _mm256_permute4x64_epi64(_mm256_packus_epi32(x, x), 0xd8);
  _mm_storeu_si128((void *)room, _mm256_castsi256_si128(x));
  writer->words -= 2 * taken;
  memcpy(writer->words, room, 2 * taken);
  return KDN_OK;
}

// One step of 8 lanes of values; *escaped: mask of the lanes that escape.
KDN_TARGET_AVX2 KDN_INLINE int32_t kdn_encode256(
  __m256i *states, __m256i bases, kdn_writer *writer, __m256i value, uint32_t *escaped
) {
  const __m256i zero = _mm256_setzero_si256(), one = _mm256_set1_epi32(1);
  __m256i index = _mm256_add_epi32(value, _mm256_set1_epi32(128));
  __m256i inside = _mm256_and_si256(
    _mm256_cmpgt_epi32(index, zero), _mm256_cmpgt_epi32(_mm256_set1_epi32(256), index));
  index = _mm256_add_epi32(_mm256_and_si256(inside, index), bases);
  const int *tables = (const int *)writer->tables;
  __m256i facts = _mm256_i32gather_epi32(tables, _mm256_slli_epi32(index, 1), 4);
  __m256i absent = _mm256_cmpeq_epi32(facts, zero);
  if (__builtin_expect(kdn_mask256(absent) != 0, 0)) {
    inside = _mm256_andnot_si256(absent, inside);
    index = _mm256_blendv_epi8(index, bases, absent);
    facts = _mm256_i32gather_epi32(tables, _mm256_slli_epi32(index, 1), 4);
    if (kdn_mask256(_mm256_cmpeq_epi32(facts, zero))) return KDN_BAD_TABLE;
  }
  *escaped = ~kdn_mask256(inside) & 0xff;
  __m256i reciprocal = _mm256_i32gather_epi32(tables + 1, _mm256_slli_epi32(index, 1), 4);
  __m256i frequency = _mm256_and_si256(facts, _mm256_set1_epi32(0xfff));
  __m256i start = _mm256_and_si256(_mm256_srli_epi32(facts, 12), _mm256_set1_epi32(0xfff));
  __m256i shift = _mm256_srli_epi32(facts, 24);
  __m256i x = *states;
  __m256i full = kdn_not_less256(_mm256_srli_epi32(x, 32 - KDN_TABLE_BITS), frequency);
  int32_t result = kdn_emit256(writer, x, kdn_mask256(full));
  if (result != KDN_OK) return result;
  x = _mm256_blendv_epi8(x, _mm256_srli_epi32(x, 16), full);
  __m256i quotient = _mm256_srlv_epi32(
    kdn_mulhi256(x, reciprocal), _mm256_sub_epi32(shift, one));
  quotient = _mm256_blendv_epi8(quotient, x, _mm256_cmpeq_epi32(shift, zero));
  __m256i rest = _mm256_sub_epi32(x, _mm256_mullo_epi32(quotient, frequency));
  __m256i more = kdn_not_less256(rest, frequency);
  quotient = _mm256_sub_epi32(quotient, more);
  rest = _mm256_sub_epi32(rest, _mm256_and_si256(more, frequency));
  x = _mm256_add_epi32(_mm256_slli_epi32(quotient, KDN_TABLE_BITS), start);
  *states = _mm256_add_epi32(x, rest);
  return KDN_OK;
}

static int32_t kdn_write_escapes(kdn_writer *writer, uint32_t escaped, const int16_t *row) {
  for (uint32_t lane = 8; lane-- > 0;) {
    if (!(escaped >> lane & 1)) continue;
    if (writer->escapes - writer->escape_floor < 2) return KDN_NO_ROOM;
    writer->escapes -= 2;
    memcpy(writer->escapes, row + lane, 2);
  }
  return KDN_OK;
}

KDN_TARGET_AVX2 int32_t kdn_encode_block_avx2(
  kdn_writer *writer, const uint32_t *bases, uint64_t tokens, uint64_t stride, const int16_t *q
) {
  __m256i states[KDN_QUARTERS], base[KDN_QUARTERS];
  for (int i = 0; i < KDN_QUARTERS; i++) {
    states[i] = _mm256_loadu_si256((const void *)(writer->states + 8 * i));
    base[i] = _mm256_loadu_si256((const void *)(bases + 8 * i));
  }
  for (uint64_t t = tokens; t-- > 0;) {
    const int16_t *row = q + t * stride;
    for (int i = KDN_QUARTERS - 1; i >= 0; i--) {
      __m256i value = _mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)(row + 8 * i)));
      uint32_t escaped;
      int32_t result = kdn_encode256(&states[i], base[i], writer, value, &escaped);
      if (result == KDN_OK && __builtin_expect(escaped != 0, 0)) {
        result = kdn_write_escapes(writer, escaped, row + 8 * i);
      }
      if (result != KDN_OK) return result;
    }
  }
  for (int i = 0; i < KDN_QUARTERS; i++) {
    _mm256_storeu_si256((void *)(writer->states + 8 * i), states[i]);
  }
  return KDN_OK;
}

#endif
