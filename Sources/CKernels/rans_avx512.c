#include "internal.h"

#if KDN_X86

// Bytes that a row of 32 lanes may read beyond the words it takes.
#define KDN_ROW_BYTES 64

// MARK: table look-up
// Sixteen loads by numbers taken from a register: half the time of the processor's own gather.

KDN_TARGET_AVX512 KDN_INLINE __m128i kdn_four_entries(const uint32_t *tables, __m128i index) {
  uint64_t first = (uint64_t)_mm_cvtsi128_si64(index);
  uint64_t second = (uint64_t)_mm_extract_epi64(index, 1);
  __m128i entries = _mm_cvtsi32_si128((int)tables[(uint32_t)first]);
  entries = _mm_insert_epi32(entries, (int)tables[first >> 32], 1);
  entries = _mm_insert_epi32(entries, (int)tables[(uint32_t)second], 2);
  return _mm_insert_epi32(entries, (int)tables[second >> 32], 3);
}

KDN_TARGET_AVX512 KDN_INLINE __m512i kdn_join512(const __m128i *parts) {
  __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(parts[0]), parts[1], 1);
  __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(parts[2]), parts[3], 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

KDN_TARGET_AVX512 KDN_INLINE __m512i kdn_entries512(const uint32_t *tables, __m512i index) {
  __m128i parts[4] = {
    kdn_four_entries(tables, _mm512_castsi512_si128(index)),
    kdn_four_entries(tables, _mm512_extracti32x4_epi32(index, 1)),
    kdn_four_entries(tables, _mm512_extracti32x4_epi32(index, 2)),
    kdn_four_entries(tables, _mm512_extracti32x4_epi32(index, 3)),
  };
  return kdn_join512(parts);
}

// MARK: decoding

// A stream's block in registers.
typedef struct {
  __m512i low, high;              // states of lanes 0...15 and 16...31
  __m512i low_bases, high_bases;
  const uint32_t *tables;
  const uint8_t *words;
  int16_t *q;
} kdn_lanes;

// The states before new words come in.
KDN_TARGET_AVX512 KDN_INLINE __m512i kdn_step512(
  __m512i x, __m512i bases, const uint32_t *tables, __m512i *entries
) {
  const __m512i field = _mm512_set1_epi32(0xfff);
  __m512i slots = _mm512_and_si512(x, _mm512_set1_epi32(KDN_SLOTS - 1));
  *entries = kdn_entries512(tables, _mm512_add_epi32(slots, bases));
  __m512i frequency = _mm512_and_si512(*entries, field);
  __m512i bias = _mm512_and_si512(_mm512_srli_epi32(*entries, 12), field);
  x = _mm512_mullo_epi32(_mm512_srli_epi32(x, KDN_TABLE_BITS), frequency);
  return _mm512_add_epi32(x, bias);
}

// One row: 32 symbols. KDN_ROW_BYTES are readable from the words on.
KDN_TARGET_AVX512 KDN_INLINE int32_t kdn_row512(kdn_lanes *lanes, kdn_reader *reader) {
  const __m512i bound = _mm512_set1_epi32(KDN_LOWER_BOUND);
  __m512i next = _mm512_loadu_si512(lanes->words), first, second;
  __m512i a = kdn_step512(lanes->low, lanes->low_bases, lanes->tables, &first);
  __m512i b = kdn_step512(lanes->high, lanes->high_bases, lanes->tables, &second);
  __mmask16 low_a = _mm512_cmplt_epu32_mask(a, bound);
  __mmask16 low_b = _mm512_cmplt_epu32_mask(b, bound);
  __mmask32 low = _mm512_kunpackw(low_b, low_a);
  __m512i taken = _mm512_maskz_expand_epi16(low, next);
  __m512i taken_a = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(taken));
  __m512i taken_b = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(taken, 1));
  lanes->low = _mm512_or_si512(_mm512_mask_slli_epi32(a, low_a, a, 16), taken_a);
  lanes->high = _mm512_or_si512(_mm512_mask_slli_epi32(b, low_b, b, 16), taken_b);
  lanes->words += 2 * (uint32_t)_mm_popcnt_u32(low);
  __m512i row = _mm512_inserti64x4(
    _mm512_castsi256_si512(_mm512_cvtepi32_epi16(_mm512_srai_epi32(first, 24))),
    _mm512_cvtepi32_epi16(_mm512_srai_epi32(second, 24)), 1);
  int16_t *q = lanes->q;
  _mm512_storeu_si512(q, row);
  lanes->q = q + reader->stride;
  __mmask32 escaped = _mm512_cmpeq_epi16_mask(row, _mm512_set1_epi16(-128));
  return __builtin_expect(escaped != 0, 0) ? kdn_patch_escapes(reader, q) : KDN_OK;
}

KDN_TARGET_AVX512 KDN_INLINE void kdn_open512(kdn_lanes *lanes, const kdn_reader *reader) {
  lanes->low = _mm512_loadu_si512(reader->states);
  lanes->high = _mm512_loadu_si512(reader->states + 16);
  lanes->low_bases = _mm512_loadu_si512(reader->bases);
  lanes->high_bases = _mm512_loadu_si512(reader->bases + 16);
  lanes->tables = reader->tables;
  lanes->words = reader->words;
  lanes->q = reader->q;
}

KDN_TARGET_AVX512 KDN_INLINE void kdn_close512(const kdn_lanes *lanes, kdn_reader *reader) {
  _mm512_storeu_si512(reader->states, lanes->low);
  _mm512_storeu_si512(reader->states + 16, lanes->high);
  reader->words = lanes->words;
  reader->q = lanes->q;
}

// Rows while all streams have words enough for whole loads: how many were done.
KDN_TARGET_AVX512 KDN_INLINE uint64_t kdn_rows512(
  kdn_reader *const *readers, uint64_t count, uint64_t tokens
) {
  kdn_lanes lanes[KDN_STREAMS];
  uint64_t t = 0;
  for (uint64_t i = 0; i < count; i++) kdn_open512(&lanes[i], readers[i]);
  for (; t < tokens; t++) {
    uint32_t near_end = 0;
    _Pragma("GCC unroll 4") for (uint64_t i = 0; i < count; i++) {
      near_end |= readers[i]->end - lanes[i].words < KDN_ROW_BYTES;
    }
    if (near_end) break;
    int32_t failed = KDN_OK;
    _Pragma("GCC unroll 4") for (uint64_t i = 0; i < count; i++) {
      int32_t result = kdn_row512(&lanes[i], readers[i]);
      if (__builtin_expect(result != KDN_OK, 0)) failed = readers[i]->result = result;
    }
    if (__builtin_expect(failed != KDN_OK, 0)) {
      t++;
      break;
    }
  }
  for (uint64_t i = 0; i < count; i++) kdn_close512(&lanes[i], readers[i]);
  return t;
}

// Of a constant number of streams, so that all that they hold stays in registers.
#define KDN_ROWS512(COUNT)                                                              \
  KDN_TARGET_AVX512 static uint64_t kdn_rows512_##COUNT(                                \
    kdn_reader *const *readers, uint64_t tokens                                         \
  ) {                                                                                   \
    return kdn_rows512(readers, COUNT, tokens);                                         \
  }
KDN_ROWS512(1)
KDN_ROWS512(2)
KDN_ROWS512(3)

// The last rows of one stream: in a copy that has room behind it.
KDN_TARGET_AVX512 static int32_t kdn_last_rows512(kdn_reader *reader, uint64_t tokens) {
  uint8_t rest[4 * KDN_ROW_BYTES] = {0};
  size_t left = (size_t)(reader->end - reader->words);
  memcpy(rest, reader->words, left);
  kdn_lanes lanes;
  kdn_open512(&lanes, reader);
  lanes.words = rest;
  for (uint64_t t = 0; t < tokens; t++) {
    int32_t result = kdn_row512(&lanes, reader);
    if (lanes.words > rest + left) return KDN_TRUNCATED;
    if (result != KDN_OK) return result;
  }
  lanes.words = reader->words + (lanes.words - rest);
  kdn_close512(&lanes, reader);
  return KDN_OK;
}

void kdn_decode_blocks_avx512(kdn_reader *const *readers, uint64_t count, uint64_t tokens) {
  uint64_t done = count == 3 ? kdn_rows512_3(readers, tokens)
                : count == 2 ? kdn_rows512_2(readers, tokens) : kdn_rows512_1(readers, tokens);
  for (uint64_t i = 0; i < count; i++) {
    kdn_reader *reader = readers[i];
    uint64_t left = tokens - done;
    if (reader->result == KDN_OK && left) left -= kdn_rows512_1(&reader, left);
    if (reader->result == KDN_OK && left) reader->result = kdn_last_rows512(reader, left);
  }
}

// MARK: encoding

// Eight entries of eight bytes.
KDN_TARGET_AVX512 KDN_INLINE __m512i kdn_wide_entries512(
  const uint64_t *tables, const uint32_t *index
) {
  __m128i parts[4];
  _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
    __m128d first = _mm_load_sd((const double *)(tables + index[2 * i]));
    parts[i] = _mm_castpd_si128(
      _mm_loadh_pd(first, (const double *)(tables + index[2 * i + 1])));
  }
  return kdn_join512(parts);
}

// What 16 lanes code their symbols with.
typedef struct {
  __m512i facts;        // shift << 24 | start << 12 | frequency
  __m512i reciprocals;
} kdn_entries;

KDN_TARGET_AVX512 KDN_INLINE kdn_entries kdn_take_entries(const uint64_t *tables, __m512i index) {
  const __m512i even = _mm512_setr_epi32(
    0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  uint32_t numbers[16] __attribute__((aligned(64)));
  _mm512_store_si512(numbers, index);
  __m512i first = kdn_wide_entries512(tables, numbers);
  __m512i second = kdn_wide_entries512(tables, numbers + 8);
  __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  return (kdn_entries){
    _mm512_permutex2var_epi32(first, even, second), _mm512_permutex2var_epi32(first, odd, second),
  };
}

// floor(x * reciprocal / 2^(31 + shift)) of 16 lanes.
KDN_TARGET_AVX512 KDN_INLINE __m512i kdn_quotients512(__m512i x, const kdn_entries *entries) {
  const __m512i least = _mm512_set1_epi64(31);
  __m512i even_shift = _mm512_srli_epi64(_mm512_slli_epi64(entries->facts, 32), 56);
  __m512i odd_shift = _mm512_srli_epi64(entries->facts, 56);
  __m512i even = _mm512_mul_epu32(x, entries->reciprocals);
  __m512i odd = _mm512_mul_epu32(
    _mm512_srli_epi64(x, 32), _mm512_srli_epi64(entries->reciprocals, 32));
  even = _mm512_srlv_epi64(even, _mm512_add_epi64(even_shift, least));
  odd = _mm512_srlv_epi64(odd, _mm512_add_epi64(odd_shift, least));
  return _mm512_mask_mov_epi32(even, 0xaaaa, _mm512_slli_epi64(odd, 32));
}

KDN_TARGET_AVX512 KDN_INLINE __m512i kdn_frequencies512(const kdn_entries *entries) {
  return _mm512_and_si512(entries->facts, _mm512_set1_epi32(0xfff));
}

// The lanes whose states must give a word before they take their symbol.
KDN_TARGET_AVX512 KDN_INLINE __mmask16 kdn_full512(__m512i x, const kdn_entries *entries) {
  return _mm512_cmpge_epu32_mask(
    _mm512_srli_epi32(x, 32 - KDN_TABLE_BITS), kdn_frequencies512(entries));
}

// The states after it. quotient << KDN_TABLE_BITS | rest is x + quotient * (KDN_SLOTS - frequency).
KDN_TARGET_AVX512 KDN_INLINE __m512i kdn_advance512(
  __m512i x, __mmask16 full, const kdn_entries *entries
) {
  __m512i frequency = kdn_frequencies512(entries);
  __m512i others = _mm512_sub_epi32(_mm512_set1_epi32(KDN_SLOTS), frequency);
  __m512i start = _mm512_and_si512(
    _mm512_srli_epi32(entries->facts, 12), _mm512_set1_epi32(0xfff));
  x = _mm512_mask_srli_epi32(x, full, x, 16);
  __m512i quotient = kdn_quotients512(x, entries);
  __m512i rest = _mm512_sub_epi32(x, _mm512_mullo_epi32(quotient, frequency));
  x = _mm512_add_epi32(_mm512_add_epi32(x, start), _mm512_mullo_epi32(quotient, others));
  // The reciprocal is cut: the quotient may be one too small.
  return _mm512_mask_add_epi32(x, _mm512_cmpge_epu32_mask(rest, frequency), x, others);
}

static int32_t kdn_write_escapes(kdn_writer *writer, uint32_t escaped, const int16_t *row) {
  for (uint32_t lane = KDN_LANES; lane-- > 0;) {
    if (!(escaped >> lane & 1)) continue;
    if (writer->escapes - writer->escape_floor < 2) return KDN_NO_ROOM;
    writer->escapes -= 2;
    memcpy(writer->escapes, row + lane, 2);
  }
  return KDN_OK;
}

// Indices of 16 values' entries, those of escapes where no symbol is theirs; *inside: the others.
KDN_TARGET_AVX512 KDN_INLINE __m512i kdn_indices512(
  const int16_t *values, __m512i bases, __mmask16 *inside
) {
  __m512i index = _mm512_cvtepi16_epi32(_mm256_loadu_si256((const void *)values));
  __m512i from_one = _mm512_add_epi32(index, _mm512_set1_epi32(127));
  *inside = _mm512_cmplt_epu32_mask(from_one, _mm512_set1_epi32(255));
  index = _mm512_add_epi32(index, _mm512_set1_epi32(128));
  return _mm512_add_epi32(_mm512_maskz_mov_epi32(*inside, index), bases);
}

KDN_TARGET_AVX512 KDN_INLINE __mmask16 kdn_absent512(const kdn_entries *entries) {
  return _mm512_testn_epi32_mask(entries->facts, entries->facts);
}

// Entries of 16 values, where a table lacks one those of its escape; KDN_BAD_TABLE: it lacks that.
KDN_TARGET_AVX512 KDN_INLINE int32_t kdn_lookup512(
  const uint64_t *tables, const int16_t *values, __m512i bases, kdn_entries *entries,
  __mmask16 *inside
) {
  __m512i index = kdn_indices512(values, bases, inside);
  *entries = kdn_take_entries(tables, index);
  __mmask16 absent = kdn_absent512(entries);
  if (__builtin_expect(absent != 0, 0)) {
    *inside &= (__mmask16)~absent;
    *entries = kdn_take_entries(tables, _mm512_mask_mov_epi32(index, absent, bases));
    if (kdn_absent512(entries)) return KDN_BAD_TABLE;
  }
  return KDN_OK;
}

KDN_TARGET_AVX512 int32_t kdn_encode_block_avx512(
  kdn_writer *writer, const uint32_t *bases, uint64_t tokens, uint64_t stride, const int16_t *q
) {
  __m512i a = _mm512_loadu_si512(writer->states), b = _mm512_loadu_si512(writer->states + 16);
  __m512i bases_a = _mm512_loadu_si512(bases), bases_b = _mm512_loadu_si512(bases + 16);
  const uint64_t *tables = writer->tables;
  uint8_t *words = writer->words;
  for (uint64_t t = tokens; t-- > 0;) {
    const int16_t *row = q + t * stride;
    kdn_entries entries_a, entries_b;
    __mmask16 inside_a, inside_b;
    int32_t result = kdn_lookup512(tables, row, bases_a, &entries_a, &inside_a);
    if (result != KDN_OK) return result;
    result = kdn_lookup512(tables, row + 16, bases_b, &entries_b, &inside_b);
    if (result != KDN_OK) return result;
    __mmask16 full_a = kdn_full512(a, &entries_a), full_b = kdn_full512(b, &entries_b);
    __mmask32 full = _mm512_kunpackw(full_b, full_a);
    uint32_t taken = (uint32_t)_mm_popcnt_u32(full);
    if (words - writer->floor < 2 * (ptrdiff_t)taken) return KDN_NO_ROOM;
    words -= 2 * taken;
    __m512i halves = _mm512_inserti64x4(
      _mm512_castsi256_si512(_mm512_cvtepi32_epi16(a)), _mm512_cvtepi32_epi16(b), 1);
    _mm512_mask_storeu_epi16(
      words, (__mmask32)((1ull << taken) - 1), _mm512_maskz_compress_epi16(full, halves));
    a = kdn_advance512(a, full_a, &entries_a);
    b = kdn_advance512(b, full_b, &entries_b);
    uint32_t escaped = ~_mm512_kunpackw(inside_b, inside_a);
    if (__builtin_expect(escaped != 0, 0)) {
      result = kdn_write_escapes(writer, escaped, row);
      if (result != KDN_OK) return result;
    }
  }
  writer->words = words;
  _mm512_storeu_si512(writer->states, a);
  _mm512_storeu_si512(writer->states + 16, b);
  return KDN_OK;
}

#endif
