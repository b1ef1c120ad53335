#ifndef KDN_KERNELS_ELEMENTS_H
#define KDN_KERNELS_ELEMENTS_H

#include "internal.h"

// Element types to and from f32, without branches, so that loops over them become vectors. f32 to
// a type: nearest even; NaN to the positive quiet NaN; see the header for overflow.

#define KDN_ABSOLUTE 0x7fffffffu
#define KDN_INFINITY 0x7f800000u

KDN_INLINE uint32_t kdn_smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

KDN_INLINE uint16_t kdn_to_bf16(float x) {
  uint32_t u = kdn_bits(x);
  uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
  return (uint16_t)((u & KDN_ABSOLUTE) > KDN_INFINITY ? 0x7fc0 : rounded);
}

// A smaller float of `mantissa` bits and exponent bias 127 - `rebias`: sums below the normal range
// are rounded by adding `magic`, whose unit in the last place is the smallest value; from
// `ceiling` on all is as `ceiling`.
KDN_INLINE uint32_t kdn_to_small(
  uint32_t absolute, uint32_t mantissa, uint32_t rebias, float magic, uint32_t ceiling
) {
  uint32_t shift = 23 - mantissa;
  absolute = kdn_smaller(absolute, ceiling);
  uint32_t odd = absolute >> shift & 1;
  uint32_t normal = (absolute - (rebias << 23) + ((1u << (shift - 1)) - 1) + odd) >> shift;
  uint32_t tiny = kdn_bits(kdn_float(absolute) + magic) - kdn_bits(magic);
  return absolute < (rebias + 1) << 23 ? tiny : normal;
}

KDN_INLINE uint16_t kdn_to_f16(float x) {
  uint32_t u = kdn_bits(x), absolute = u & KDN_ABSOLUTE;
  uint32_t rounded = kdn_to_small(absolute, 10, 112, 0.5f, 0x47800000) | (u >> 16 & 0x8000);
  return (uint16_t)(absolute > KDN_INFINITY ? 0x7e00 : rounded);
}

KDN_INLINE uint8_t kdn_to_f8e4m3(float x) {
  uint32_t u = kdn_bits(x), absolute = u & KDN_ABSOLUTE;
  uint32_t rounded = kdn_to_small(absolute, 3, 120, 16384.0f, 0x43e00000) | (u >> 24 & 0x80);
  return (uint8_t)(absolute > KDN_INFINITY ? 0x7f : rounded);
}

KDN_INLINE uint8_t kdn_to_f8e5m2(float x) {
  uint32_t u = kdn_bits(x), absolute = u & KDN_ABSOLUTE;
  uint32_t rounded = kdn_to_small(absolute, 2, 112, 128.0f, 0x47800000) | (u >> 24 & 0x80);
  return (uint8_t)(absolute > KDN_INFINITY ? 0x7f : rounded);
}

KDN_INLINE float kdn_to_canonical_f32(float x) {
  uint32_t u = kdn_bits(x);
  return kdn_float((u & KDN_ABSOLUTE) > KDN_INFINITY ? 0x7fc00000 : u);
}

KDN_INLINE int8_t kdn_to_i8(float x) {
  float kept = kdn_bits(x) << 1 > KDN_INFINITY << 1 ? 0.0f : x;
  kept = kept < -128.0f ? -128.0f : kept;
  kept = kept > 127.0f ? 127.0f : kept;
  return (int8_t)(int32_t)((kept + 12582912.0f) - 12582912.0f);
}

KDN_INLINE float kdn_from_bf16(uint16_t h) { return kdn_float((uint32_t)h << 16); }

KDN_INLINE float kdn_from_f16(uint16_t h) {
  uint32_t absolute = h & 0x7fff, sign = (uint32_t)(h & 0x8000) << 16;
  uint32_t normal = (absolute << 13) + (112u << 23);
  normal += absolute >= 0x7c00 ? 112u << 23 : 0;
  uint32_t tiny = kdn_bits((float)(int32_t)absolute * 0x1p-24f);
  return kdn_float((absolute < 0x400 ? tiny : normal) | sign);
}

KDN_INLINE float kdn_from_f8e5m2(uint8_t b) { return kdn_from_f16((uint16_t)(b << 8)); }

KDN_INLINE float kdn_from_f8e4m3(uint8_t b) {
  uint32_t absolute = b & 0x7f, sign = (uint32_t)(b & 0x80) << 24;
  uint32_t normal = (absolute << 20) + (120u << 23);
  uint32_t tiny = kdn_bits((float)(int32_t)absolute * 0x1p-9f);
  uint32_t finite = absolute < 8 ? tiny : normal;
  return kdn_float((absolute == 0x7f ? 0x7fc00000u : finite) | sign);
}

KDN_INLINE uint64_t kdn_element_bytes(int32_t type) {
  switch (type) {
  case KDN_F32: return 4;
  case KDN_BF16:
  case KDN_F16: return 2;
  default: return 1;
  }
}

#define KDN_EMIT(TYPE, CONVERT)                    \
  for (uint64_t i = 0; i < count; i++) {           \
    TYPE value = CONVERT(x[i]);                    \
    memcpy(out + i * sizeof value, &value, sizeof value); \
  }                                                \
  break

// f32 values to elements at `out`.
KDN_INLINE void kdn_emit(int32_t type, const float *restrict x, uint64_t count,
                         uint8_t *restrict out) {
  switch (type) {
  case KDN_BF16: KDN_EMIT(uint16_t, kdn_to_bf16);
  case KDN_F16: KDN_EMIT(uint16_t, kdn_to_f16);
  case KDN_F32: KDN_EMIT(float, kdn_to_canonical_f32);
  case KDN_F8E4M3: KDN_EMIT(uint8_t, kdn_to_f8e4m3);
  case KDN_F8E5M2: KDN_EMIT(uint8_t, kdn_to_f8e5m2);
  default: KDN_EMIT(int8_t, kdn_to_i8);
  }
}

#define KDN_TAKE(TYPE, CONVERT)                    \
  for (uint64_t i = 0; i < count; i++) {           \
    TYPE value;                                    \
    memcpy(&value, in + i * sizeof value, sizeof value); \
    x[i] = CONVERT(value);                         \
  }                                                \
  break

// Elements at `in` to f32.
KDN_INLINE void kdn_take(int32_t type, const uint8_t *restrict in, uint64_t count,
                         float *restrict x) {
  switch (type) {
  case KDN_BF16: KDN_TAKE(uint16_t, kdn_from_bf16);
  case KDN_F16: KDN_TAKE(uint16_t, kdn_from_f16);
  case KDN_F32: KDN_TAKE(float, );
  case KDN_F8E4M3: KDN_TAKE(uint8_t, kdn_from_f8e4m3);
  case KDN_F8E5M2: KDN_TAKE(uint8_t, kdn_from_f8e5m2);
  default: KDN_TAKE(int8_t, );
  }
}

// x rotated in place by `sign` times the angles of one token: pairs as the plane says.
KDN_INLINE void kdn_rotate(
  const kdn_plane *plane, uint64_t token, float sign, float *restrict x
) {
  uint64_t half = plane->rotary_dims / 2;
  const float *restrict cosines = plane->cosines + token * half;
  const float *restrict sines = plane->sines + token * half;
  x += plane->rotary_first;
  if (plane->interleaved) {
    for (uint64_t i = 0; i < half; i++) {
      float a = x[2 * i], b = x[2 * i + 1], s = sign * sines[i];
      x[2 * i] = a * cosines[i] - b * s;
      x[2 * i + 1] = b * cosines[i] + a * s;
    }
    return;
  }
  float *restrict y = x + half;
  for (uint64_t i = 0; i < half; i++) {
    float a = x[i], b = y[i], s = sign * sines[i];
    x[i] = a * cosines[i] - b * s;
    y[i] = b * cosines[i] + a * s;
  }
}

// Three instances of a body: name_scalar, name_avx2, name_avx512, and `name` that picks one.
#if KDN_X86
#define KDN_PATHS(RESULT, NAME, PARAMETERS, ARGUMENTS)                              \
  static RESULT NAME##_scalar PARAMETERS { return NAME##_body ARGUMENTS; }          \
  KDN_TARGET_AVX2 static RESULT NAME##_avx2 PARAMETERS { return NAME##_body ARGUMENTS; }     \
  KDN_TARGET_AVX512 static RESULT NAME##_avx512 PARAMETERS { return NAME##_body ARGUMENTS; } \
  static RESULT NAME##_on(int32_t path, KDN_STRIP PARAMETERS) {                     \
    if (path == KDN_AVX512) return NAME##_avx512 ARGUMENTS;                         \
    if (path == KDN_AVX2) return NAME##_avx2 ARGUMENTS;                             \
    return NAME##_scalar ARGUMENTS;                                                 \
  }
#else
#define KDN_PATHS(RESULT, NAME, PARAMETERS, ARGUMENTS)                              \
  static RESULT NAME##_on(int32_t path, KDN_STRIP PARAMETERS) {                     \
    (void)path;                                                                     \
    return NAME##_body ARGUMENTS;                                                   \
  }
#endif
#define KDN_STRIP(...) __VA_ARGS__

#endif
