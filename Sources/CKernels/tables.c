#include "internal.h"

// Static classes: made by Scripts/lib/shape_tables.py from one normalised shape.
static const uint16_t kdn_shapes[KDN_CLASSES][256] = {
#include "shape_tables.inc"
};

int32_t kdn_path_available(int32_t path) {
  switch (path) {
  case KDN_AUTO:
  case KDN_SCALAR: return 1;
#if KDN_X86
  case KDN_AVX2: return __builtin_cpu_supports("avx2") ? 1 : 0;
  case KDN_AVX512:
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
      && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
      && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi2")
      && __builtin_cpu_supports("popcnt") ? 1 : 0;
#endif
  default: return 0;
  }
}

int32_t kdn_resolve(int32_t path) {
  if (path != KDN_AUTO) return kdn_path_available(path) ? path : 0;
  if (kdn_path_available(KDN_AVX512)) return KDN_AVX512;
  return kdn_path_available(KDN_AVX2) ? KDN_AVX2 : KDN_SCALAR;
}

const uint16_t *kdn_class_frequencies(int32_t cls) {
  return cls >= 1 && cls <= KDN_CLASSES ? kdn_shapes[cls - 1] : NULL;
}

static int32_t kdn_sums_to_slots(const uint16_t *frequencies) {
  uint32_t sum = 0;
  for (int i = 0; i < 256; i++) sum += frequencies[i];
  return sum == KDN_SLOTS;
}

int32_t kdn_decode_table(const uint16_t *frequencies, uint32_t *table) {
  if (!kdn_sums_to_slots(frequencies)) return KDN_BAD_TABLE;
  for (uint32_t i = 0, slot = 0; i < 256; i++) {
    uint32_t frequency = frequencies[i], first = ((i - 128) & 0xff) << 24 | frequency;
    for (uint32_t k = 0; k < frequency; k++) table[slot + k] = first | k << 12;
    slot += frequency;
  }
  return KDN_OK;
}

// floor(2^(31 + shift) / f), 2^(shift - 1) < f <= 2^shift: as large as 32 bits take.
static uint64_t kdn_encode_entry(uint32_t start, uint32_t frequency) {
  if (frequency == 0) return 0;
  uint32_t shift = 0;
  while ((1u << shift) < frequency) shift++;
  uint64_t reciprocal = (1ull << (31 + shift)) / frequency;
  return reciprocal << 32 | (uint64_t)shift << 24 | start << 12 | frequency;
}

int32_t kdn_encode_table(const uint16_t *frequencies, uint64_t *table) {
  if (!kdn_sums_to_slots(frequencies)) return KDN_BAD_TABLE;
  for (uint32_t i = 0, start = 0; i < 256; i++) {
    table[i] = kdn_encode_entry(start, frequencies[i]);
    start += frequencies[i];
  }
  return KDN_OK;
}

// 256 * log2(KDN_SLOTS / frequency), by squaring: eight bits after the point.
static uint16_t kdn_cost(uint32_t frequency) {
  uint32_t whole = 0;
  while ((2u << whole) <= frequency) whole++;
  uint64_t mantissa = ((uint64_t)frequency << 31) >> whole;  // 1...2 in units of 2^-31
  uint32_t log = whole;
  for (int bit = 0; bit < 9; bit++) {
    mantissa = (mantissa * mantissa) >> 31;
    log <<= 1;
    if (mantissa >> 32) {
      mantissa >>= 1;
      log |= 1;
    }
  }
  return (uint16_t)((KDN_TABLE_BITS * 512 - log + 1) / 2);
}

int32_t kdn_cost_table(const uint16_t *frequencies, uint16_t *costs) {
  if (!kdn_sums_to_slots(frequencies)) return KDN_BAD_TABLE;
  uint16_t escape = frequencies[0] ? (uint16_t)(kdn_cost(frequencies[0]) + 16 * 256) : 0xffff;
  for (int i = 0; i < 256; i++) {
    costs[i] = i > 0 && frequencies[i] ? kdn_cost(frequencies[i]) : escape;
  }
  return KDN_OK;
}

void kdn_padding_tables(uint32_t *decode, uint64_t *encode) {
  for (uint32_t slot = 0; decode && slot < KDN_SLOTS; slot++) {
    decode[slot] = slot << 12 | KDN_SLOTS;
  }
  for (uint32_t i = 0; encode && i < 256; i++) encode[i] = kdn_encode_entry(0, KDN_SLOTS);
}

int32_t kdn_static_tables(uint32_t *decode, uint64_t *encode, uint16_t *costs) {
  kdn_padding_tables(decode, encode);
  if (costs) memset(costs, 0, 256 * sizeof *costs);
  for (int32_t cls = 1; cls <= KDN_CLASSES; cls++) {
    const uint16_t *frequencies = kdn_class_frequencies(cls);
    if (decode) {
      int32_t result = kdn_decode_table(frequencies, decode + cls * KDN_SLOTS);
      if (result != KDN_OK) return result;
    }
    if (encode) {
      int32_t result = kdn_encode_table(frequencies, encode + cls * 256);
      if (result != KDN_OK) return result;
    }
    if (costs) {
      int32_t result = kdn_cost_table(frequencies, costs + cls * 256);
      if (result != KDN_OK) return result;
    }
  }
  return KDN_OK;
}

int32_t kdn_classes_below(const uint8_t *classes, uint64_t count, uint32_t limit) {
  uint32_t largest = 0;
  for (uint64_t i = 0; i < count; i++) largest = classes[i] > largest ? classes[i] : largest;
  return largest < limit;
}

uint64_t kdn_stride(const uint8_t *classes, uint64_t count) {
  uint64_t coded = 0;
  for (uint64_t i = 0; i < count; i++) coded += classes[i] != 0;
  return (coded + KDN_LANES - 1) / KDN_LANES * KDN_LANES;
}
