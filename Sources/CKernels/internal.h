#ifndef KDN_KERNELS_INTERNAL_H
#define KDN_KERNELS_INTERNAL_H

#include <string.h>

#include "CKernels.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the codecs' streams are read in place: little-endian processors only"
#endif

// Decoding is bit-identical on every path: nothing may be fused. gcc does not know the pragma.
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#if defined(__x86_64__)
#define KDN_X86 1
#include <immintrin.h>
#define KDN_TARGET_AVX2 __attribute__((target("avx2")))
#define KDN_TARGET_AVX512                                                                   \
  __attribute__((target(                                                                    \
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi2,popcnt")))
#else
#define KDN_X86 0
#endif

#define KDN_INLINE static inline __attribute__((always_inline))
#define KDN_LOWER_BOUND 65536u
#define KDN_CHANNELS_MAX (1u << 20)
#define KDN_ELEMENTS_MAX (1ull << 31)

// AUTO to the best path; 0 if the processor has not the one asked for.
int32_t kdn_resolve(int32_t path);

// Denormals count on every path, whatever the process set; gives back what to restore.
KDN_INLINE uint32_t kdn_ieee_begin(void) {
#if KDN_X86
  uint32_t before = _mm_getcsr();
  _mm_setcsr(0x1f80);
  return before;
#else
  return 0;
#endif
}

KDN_INLINE void kdn_ieee_end(uint32_t before) {
#if KDN_X86
  _mm_setcsr(before);
#else
  (void)before;
#endif
}

KDN_INLINE uint16_t kdn_u16(const uint8_t *bytes) {
  uint16_t value;
  memcpy(&value, bytes, 2);
  return value;
}

KDN_INLINE uint32_t kdn_u32(const uint8_t *bytes) {
  uint32_t value;
  memcpy(&value, bytes, 4);
  return value;
}

KDN_INLINE float kdn_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

KDN_INLINE uint32_t kdn_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

// The classes are all below `limit`.
int32_t kdn_classes_below(const uint8_t *classes, uint64_t count, uint32_t limit);

// A stream being decoded, and the block of 32 lanes of it that comes next; shared by the paths.
typedef struct {
  const uint32_t *tables;
  const uint8_t *words;   // next word
  const uint8_t *end;     // first byte after the words
  const uint8_t *escapes;
  uint64_t escape_count;
  uint64_t escape_next;
  const uint8_t *classes;
  uint64_t count;
  uint64_t next;          // the first coefficient behind the block
  int16_t *q;             // the block's symbols: lane i of token t at q[t * stride + i]
  uint64_t stride;
  int32_t result;
  uint32_t bases[KDN_LANES];  // where the table of each lane begins
  uint32_t states[KDN_LANES];
} kdn_reader;

// Decodes a block of `tokens` rows.
typedef int32_t (*kdn_block_decoder)(kdn_reader *reader, uint64_t tokens);

int32_t kdn_decode_block_scalar(kdn_reader *reader, uint64_t tokens);
int32_t kdn_patch_escapes(kdn_reader *reader, int16_t *q);

typedef struct {
  const uint64_t *tables;
  uint8_t *words;         // words are written downwards from here
  uint8_t *floor;         // and never below
  uint8_t *escapes;       // likewise
  uint8_t *escape_floor;
  uint32_t states[KDN_LANES];
} kdn_writer;

typedef int32_t (*kdn_block_encoder)(
  kdn_writer *writer, const uint32_t *bases, uint64_t tokens, uint64_t stride, const int16_t *q);

int32_t kdn_encode_block_scalar(
  kdn_writer *writer, const uint32_t *bases, uint64_t tokens, uint64_t stride, const int16_t *q);

#if KDN_X86
int32_t kdn_decode_block_avx2(kdn_reader *reader, uint64_t tokens);
// A block of each of 1 to KDN_STREAMS streams, row by row together: what one waits for, another
// fills. Each one's result is in it.
void kdn_decode_blocks_avx512(kdn_reader *const *readers, uint64_t count, uint64_t tokens);
int32_t kdn_encode_block_avx512(
  kdn_writer *writer, const uint32_t *bases, uint64_t tokens, uint64_t stride, const int16_t *q);
int32_t kdn_encode_block_avx2(
  kdn_writer *writer, const uint32_t *bases, uint64_t tokens, uint64_t stride, const int16_t *q);
#endif

#endif
