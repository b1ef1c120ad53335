#include "elements.h"

#define KDN_TWO_OVER_PI 0x1.45f306dc9c883p-1
#define KDN_ROUNDER 0x1.8p52

static const double kdn_half_pi[3] = {
  0x1.921fb544p0, 0x1.0b4611a6p-34, 0x1.3198a2e037073p-69,
};
static const double kdn_sine_terms[6] = {
  -0x1.5555555555549p-3, 0x1.111111110f8a6p-7, -0x1.a01a019c161d5p-13,
  0x1.71de357b1fe7dp-19, -0x1.ae5e68a2b9cebp-26, 0x1.5d93a5acfd57cp-33,
};
static const double kdn_cosine_terms[6] = {
  0x1.555555555554cp-5, -0x1.6c16c16c15177p-10, 0x1.a01a019cb159p-16,
  -0x1.27e4f809c52adp-22, 0x1.1ee9ebdb4b1c4p-29, -0x1.8fae9be8838d4p-37,
};

KDN_INLINE double kdn_series(double z, const double terms[6]) {
  double sum = terms[5];
  for (int i = 4; i >= 0; i--) sum = terms[i] + z * sum;
  return sum;
}

KDN_INLINE uint64_t kdn_double_bits(double value) {
  uint64_t bits;
  memcpy(&bits, &value, 8);
  return bits;
}

// The sequence that the header promises, operation by operation, without branches: the rounder
// leaves the quarter turn in the last bits of its sum.
KDN_INLINE void kdn_angles_body(
  const double *restrict frequencies, uint64_t half, double position, float *restrict cosines,
  float *restrict sines
) {
  for (uint64_t i = 0; i < half; i++) {
    double angle = position * frequencies[i];
    double sum = angle * KDN_TWO_OVER_PI + KDN_ROUNDER;
    uint64_t quarter = kdn_double_bits(sum);
    double n = sum - KDN_ROUNDER;
    double r = ((angle - n * kdn_half_pi[0]) - n * kdn_half_pi[1]) - n * kdn_half_pi[2];
    double z = r * r;
    double s = r + (r * z) * kdn_series(z, kdn_sine_terms);
    double c = (1.0 - 0.5 * z) + (z * z) * kdn_series(z, kdn_cosine_terms);
    double across = quarter & 1 ? s : c, up = quarter & 1 ? c : s;
    cosines[i] = (float)((quarter + 1) & 2 ? -across : across);
    sines[i] = (float)(quarter & 2 ? -up : up);
  }
}
KDN_PATHS(
  void, kdn_angles,
  (const double *frequencies, uint64_t half, double position, float *cosines, float *sines),
  (frequencies, half, position, cosines, sines))

int32_t kdn_rope_table(
  const double *frequencies, uint64_t half, uint64_t first_token, uint64_t tokens, float *cosines,
  float *sines
) {
  if (half > KDN_CHANNELS_MAX || tokens > KDN_ELEMENTS_MAX) return KDN_BAD_ARGUMENT;
  if (first_token > UINT64_MAX - tokens) return KDN_BAD_ARGUMENT;
  double last = (double)(first_token + tokens);
  for (uint64_t i = 0; i < half; i++) {
    double angle = frequencies[i] * last;
    if (!(angle > -0x1p31 && angle < 0x1p31)) return KDN_BAD_ARGUMENT;
  }
  uint32_t before = kdn_ieee_begin();
  int32_t path = kdn_resolve(KDN_AUTO);
  for (uint64_t t = 0; t < tokens; t++) {
    double position = (double)(first_token + t);
    kdn_angles_on(path, frequencies, half, position, cosines + t * half, sines + t * half);
  }
  kdn_ieee_end(before);
  return KDN_OK;
}
