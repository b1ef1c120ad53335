#include "elements.h"
#include "planes.h"
#include "reach.h"

// MARK: statistics

#define KDN_GROUP 16

// Means, spreads and largest distances of `width` channels from rows on; f64 sums.
KDN_INLINE void kdn_statistics_body(
  const float *rows, uint64_t tokens, uint64_t row_stride, uint64_t width, float *means,
  float *spreads, float *largest
) {
  double sums[KDN_GROUP] = {0}, squares[KDN_GROUP] = {0};
  float far[KDN_GROUP] = {0};
  for (uint64_t t = 0; t < tokens; t++) {
    for (uint64_t c = 0; c < width; c++) sums[c] += rows[t * row_stride + c];
  }
  for (uint64_t c = 0; c < width; c++) sums[c] /= (double)tokens;
  for (uint64_t t = 0; t < tokens; t++) {
    for (uint64_t c = 0; c < width; c++) {
      double distance = rows[t * row_stride + c] - sums[c];
      float absolute = (float)(distance < 0 ? -distance : distance);
      squares[c] += distance * distance;
      far[c] = absolute > far[c] ? absolute : far[c];
    }
  }
  for (uint64_t c = 0; c < width; c++) {
    means[c] = (float)sums[c];
    spreads[c] = (float)__builtin_sqrt(squares[c] / (double)tokens);
    largest[c] = far[c];
  }
}
KDN_INLINE void kdn_statistics_group_body(
  const float *rows, uint64_t tokens, uint64_t row_stride, uint64_t width, float *means,
  float *spreads, float *largest
) {
  // A constant width lets the loops over channels become whole vectors.
  if (width == KDN_GROUP) {
    kdn_statistics_body(rows, tokens, row_stride, KDN_GROUP, means, spreads, largest);
  } else {
    kdn_statistics_body(rows, tokens, row_stride, width, means, spreads, largest);
  }
}
KDN_PATHS(
  void, kdn_statistics_group,
  (const float *rows, uint64_t tokens, uint64_t row_stride, uint64_t width, float *means,
   float *spreads, float *largest),
  (rows, tokens, row_stride, width, means, spreads, largest))

int32_t kdn_statistics(
  int32_t path, const float *rows, uint64_t tokens, uint64_t channels, uint64_t row_stride,
  float *means, float *spreads, float *largest
) {
  path = kdn_resolve(path);
  if (!path || !tokens || channels > row_stride) return KDN_BAD_ARGUMENT;
  for (uint64_t c = 0; c < channels; c += KDN_GROUP) {
    uint64_t width = channels - c < KDN_GROUP ? channels - c : KDN_GROUP;
    kdn_statistics_group_on(
      path, rows + c, tokens, row_stride, width, means + c, spreads + c, largest + c);
  }
  return KDN_OK;
}

// MARK: quantising

int32_t kdn_quantize_means(
  const float *means, const float *steps, uint64_t count, int16_t *m
) {
  for (uint64_t c = 0; c < count; c++) {
    double ratio = (double)means[c] * 16.0 / (double)steps[c];
    if (!(ratio > -32768.4 && ratio < 32767.4)) return KDN_OUT_OF_RANGE;
    m[c] = (int16_t)((ratio + 0x1.8p52) - 0x1.8p52);
  }
  return KDN_OK;
}

// x - (m * d/16) in units of d, cut towards zero after adding `rounding`.
KDN_INLINE int32_t kdn_quantize_body(
  const float *rows, uint64_t tokens, uint64_t channels, uint64_t row_stride, const int16_t *m,
  const float *steps, float rounding, int16_t *q, uint64_t dense_stride
) {
  uint32_t outside = 0;
  for (uint64_t t = 0; t < tokens; t++) {
    const float *restrict x = rows + t * row_stride;
    int16_t *restrict target = q + t * dense_stride;
    for (uint64_t c = 0; c < channels; c++) {
      float value = x[c] / steps[c] - (float)m[c] * 0.0625f;
      float absolute = kdn_float(kdn_bits(value) & KDN_ABSOLUTE) + rounding;
      uint32_t inside = absolute < 32768.0f;
      outside |= !inside;
      int32_t whole = (int32_t)(inside ? absolute : 0.0f);
      target[c] = (int16_t)(value < 0 ? -whole : whole);
    }
    for (uint64_t c = channels; c < dense_stride; c++) target[c] = 0;
  }
  return outside ? KDN_OUT_OF_RANGE : KDN_OK;
}
KDN_PATHS(
  int32_t, kdn_quantize,
  (const float *rows, uint64_t tokens, uint64_t channels, uint64_t row_stride, const int16_t *m,
   const float *steps, float rounding, int16_t *q, uint64_t dense_stride),
  (rows, tokens, channels, row_stride, m, steps, rounding, q, dense_stride))

int32_t kdn_quantize(
  int32_t path, const float *rows, uint64_t tokens, uint64_t channels, uint64_t row_stride,
  const int16_t *m, const float *steps, float rounding, int16_t *q, uint64_t dense_stride
) {
  path = kdn_resolve(path);
  if (!path || channels > row_stride || channels > dense_stride) return KDN_BAD_ARGUMENT;
  uint32_t before = kdn_ieee_begin();
  int32_t result = kdn_quantize_on(
    path, rows, tokens, channels, row_stride, m, steps, rounding, q, dense_stride);
  kdn_ieee_end(before);
  return result;
}

int32_t kdn_compact(
  const uint8_t *classes, uint64_t count, uint64_t tokens, uint64_t dense_stride, int16_t *q,
  uint64_t q_count
) {
  uint64_t stride = kdn_stride(classes, count);
  if (count > KDN_CHANNELS_MAX || tokens > KDN_ELEMENTS_MAX) return KDN_BAD_ARGUMENT;
  if (dense_stride > KDN_CHANNELS_MAX * 2) return KDN_BAD_ARGUMENT;
  if (dense_stride < stride || dense_stride < count) return KDN_BAD_ARGUMENT;
  if (q_count < dense_stride * tokens) return KDN_NO_ROOM;
  uint64_t coded = 0;
  for (uint64_t c = 0; c < count; c++) coded += classes[c] != 0;
  if (coded == count && stride == count && dense_stride == count) return KDN_OK;
  for (uint64_t t = 0; t < tokens; t++) {
    const int16_t *from = q + t * dense_stride;
    int16_t *to = q + t * stride;
    uint64_t next = 0;
    for (uint64_t c = 0; c < count; c++) {
      if (classes[c]) to[next++] = from[c];
    }
    while (next < stride) to[next++] = 0;
  }
  return KDN_OK;
}

// MARK: counts

// Counts of the columns' symbols 1...255 (value + 128), 0: escapes.
KDN_INLINE void kdn_count_rows(
  const int16_t *q, uint64_t tokens, uint64_t stride, uint64_t width, uint32_t *counts
) {
  for (uint64_t t = 0; t < tokens; t++, q += stride) {
    // All numbers first: that loop becomes vectors.
    uint8_t numbers[KDN_GROUP];
    for (uint64_t c = 0; c < width; c++) {
      uint16_t number = (uint16_t)(q[c] + 128);
      numbers[c] = (uint8_t)(number < 256 ? number : 0);
    }
    for (uint64_t c = 0; c < width; c++) counts[c * 256 + numbers[c]]++;
  }
}
static void kdn_count_group(
  const int16_t *q, uint64_t tokens, uint64_t stride, uint64_t width, uint32_t *counts
) {
  memset(counts, 0, width * 256 * sizeof *counts);
  if (width == KDN_GROUP) {
    kdn_count_rows(q, tokens, stride, KDN_GROUP, counts);
  } else {
    kdn_count_rows(q, tokens, stride, width, counts);
  }
}

static int32_t kdn_check_dense(
  uint64_t count, uint64_t tokens, uint64_t dense_stride, uint64_t q_count
) {
  if (count > KDN_CHANNELS_MAX || tokens > KDN_ELEMENTS_MAX) return KDN_BAD_ARGUMENT;
  if (dense_stride < count || dense_stride > KDN_CHANNELS_MAX * 2) return KDN_BAD_ARGUMENT;
  return q_count < dense_stride * tokens ? KDN_NO_ROOM : KDN_OK;
}

int32_t kdn_histograms(
  uint64_t count, uint64_t tokens, uint64_t dense_stride, const int16_t *q, uint64_t q_count,
  uint32_t *counts
) {
  int32_t result = kdn_check_dense(count, tokens, dense_stride, q_count);
  if (result != KDN_OK) return result;
  for (uint64_t c = 0; c < count; c += KDN_GROUP) {
    uint64_t width = count - c < KDN_GROUP ? count - c : KDN_GROUP;
    kdn_count_group(q + c, tokens, dense_stride, width, counts + c * 256);
  }
  return KDN_OK;
}

// MARK: classes by second moment

int32_t kdn_static_moments(float *moments) {
  double previous = 0;
  for (int32_t cls = 0; cls <= KDN_CLASSES; cls++) {
    const uint16_t *frequencies = kdn_class_frequencies(cls);
    double sum = 0;
    for (int32_t i = 1; frequencies && i < 256; i++) {
      sum += frequencies[i] * (double)((i - 128) * (i - 128));
    }
    // What escapes is taken as 1.25 times the largest symbol; one slot is there in any case.
    if (frequencies) sum = (sum + (frequencies[0] - 1) * 25600.0) / KDN_SLOTS;
    if (sum < previous * 1.01) sum = previous * 1.01;
    moments[cls] = (float)__builtin_sqrt(previous * sum);
    previous = sum;
  }
  return KDN_OK;
}

// Sums of squares of the columns.
KDN_INLINE void kdn_squares_body(
  const int16_t *q, uint64_t tokens, uint64_t stride, uint64_t width, float *sums
) {
  for (uint64_t c = 0; c < width; c++) sums[c] = 0;
  for (uint64_t t = 0; t < tokens; t++, q += stride) {
    for (uint64_t c = 0; c < width; c++) {
      float value = q[c];
      sums[c] += value * value;
    }
  }
}
KDN_INLINE void kdn_squares_group_body(
  const int16_t *q, uint64_t tokens, uint64_t stride, uint64_t width, float *sums
) {
  // A constant width lets the loop over channels become whole vectors.
  if (width == 2 * KDN_GROUP) {
    kdn_squares_body(q, tokens, stride, 2 * KDN_GROUP, sums);
  } else {
    kdn_squares_body(q, tokens, stride, width, sums);
  }
}
KDN_PATHS(
  void, kdn_squares_group,
  (const int16_t *q, uint64_t tokens, uint64_t stride, uint64_t width, float *sums),
  (q, tokens, stride, width, sums))

int32_t kdn_estimate_classes(
  int32_t path, const float *moments, uint64_t count, uint64_t tokens, uint64_t dense_stride,
  const int16_t *q, uint64_t q_count, uint8_t *classes
) {
  path = kdn_resolve(path);
  if (!path || !tokens) return KDN_BAD_ARGUMENT;
  int32_t result = kdn_check_dense(count, tokens, dense_stride, q_count);
  if (result != KDN_OK) return result;
  for (uint64_t first = 0; first < count; first += 2 * KDN_GROUP) {
    float sums[2 * KDN_GROUP];
    uint64_t width = count - first < 2 * KDN_GROUP ? count - first : 2 * KDN_GROUP;
    kdn_squares_group_on(path, q + first, tokens, dense_stride, width, sums);
    for (uint64_t c = 0; c < width; c++) {
      float moment = sums[c] / (float)tokens;
      // The last class whose bound is not above the moment.
      uint32_t low = 1, high = KDN_CLASSES;
      while (low < high) {
        uint32_t middle = (low + high + 1) / 2;
        if (moment >= moments[middle]) low = middle; else high = middle - 1;
      }
      classes[first + c] = (uint8_t)(sums[c] > 0 ? low : 0);
    }
  }
  return KDN_OK;
}

// MARK: classes by counts

int32_t kdn_choose_classes(
  const uint16_t *costs, uint32_t first_class, uint32_t class_count, const uint8_t *near,
  uint64_t count, uint64_t tokens, uint64_t dense_stride, const int16_t *q, uint64_t q_count,
  uint8_t *classes, uint64_t *total
) {
  if (!first_class || !class_count || first_class + class_count > 256) return KDN_BAD_ARGUMENT;
  int32_t result = kdn_check_dense(count, tokens, dense_stride, q_count);
  if (result != KDN_OK) return result;
  uint64_t sum = 0;
  for (uint64_t first = 0; first < count; first += KDN_GROUP) {
    uint32_t counts[KDN_GROUP][256];
    uint64_t width = count - first < KDN_GROUP ? count - first : KDN_GROUP;
    kdn_count_group(q + first, tokens, dense_stride, width, counts[0]);
    for (uint64_t c = 0; c < width; c++) {
      classes[first + c] = 0;
      if (counts[c][128] == tokens) continue;
      kdn_reach reach = kdn_reach_of(counts[c]);
      uint64_t best = UINT64_MAX;
      uint32_t from = first_class, to = first_class + class_count;
      if (near) {
        uint32_t middle = near[first + c];
        middle = middle < from ? from : middle >= to ? to - 1 : middle;
        from = middle > from + 2 ? middle - 2 : from;
        to = middle + 3 < to ? middle + 3 : to;
      }
      for (uint32_t k = from; k < to; k++) {
        const uint16_t *cost = costs + (uint64_t)k * 256;
        uint64_t bits = 0;
        for (uint32_t i = reach.low; i <= reach.high; i++) bits += (uint64_t)counts[c][i] * cost[i];
        if (bits >= best) continue;
        best = bits;
        classes[first + c] = (uint8_t)k;
      }
      sum += best;
    }
  }
  if (total) *total = sum;
  return KDN_OK;
}
