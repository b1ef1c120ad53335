#include "elements.h"
#include "reach.h"

// Choosing the tables of an exact block: channels with like histograms share one. Encoding only.

#define KDN_ROUNDS 2

// 256 * log2(KDN_SLOTS / frequency), near enough to compare: a straight line between powers of 2.
KDN_INLINE uint32_t kdn_rough_cost(uint32_t frequency) {
  uint32_t whole = 31 - (uint32_t)__builtin_clz(frequency);
  uint32_t rest = ((frequency << 8) >> whole) - 256;
  // log2(1 + r) lies above r by at most .086, at its most near r = .44.
  uint32_t bend = rest * (256 - rest) * 89 >> 16;
  return KDN_TABLE_BITS * 256 - whole * 256 - rest - bend;
}

int32_t kdn_normalize(const uint64_t *counts, uint16_t *frequencies) {
  uint64_t total = 0, used = 0, largest = 0;
  for (int i = 0; i < 256; i++) total += counts[i];
  if (!total || total > UINT64_MAX / KDN_SLOTS / 2) return KDN_BAD_ARGUMENT;
  for (int i = 0; i < 256; i++) {
    frequencies[i] = 0;
    if (!counts[i]) continue;
    uint64_t share = (counts[i] * KDN_SLOTS + total / 2) / total;
    if (!share) share = 1;
    frequencies[i] = (uint16_t)share;
    used += share;
    if (frequencies[i] > frequencies[largest]) largest = (uint64_t)i;
  }
  // Rounding and lifting took too many: they come back from the most frequent.
  while (used > KDN_SLOTS) {
    uint64_t most = 0;
    for (uint64_t i = 1; i < 256; i++) most = frequencies[i] > frequencies[most] ? i : most;
    uint64_t cut = frequencies[most] / 2 < used - KDN_SLOTS ? frequencies[most] / 2
                                                            : used - KDN_SLOTS;
    frequencies[most] -= (uint16_t)(cut ? cut : 1);
    used -= cut ? cut : 1;
  }
  frequencies[largest] += (uint16_t)(KDN_SLOTS - used);
  return KDN_OK;
}

// How far the symbols of a channel lie from their mean: what the first partition goes by.
KDN_INLINE uint32_t kdn_width(const uint32_t *counts, kdn_reach reach) {
  int64_t sum = 0, squares = 0, total = 0;
  for (uint32_t i = reach.low; i <= reach.high; i++) {
    int64_t value = (int64_t)i - 128, weighted = counts[i] * value;
    total += counts[i];
    sum += weighted;
    squares += weighted * value;
  }
  if (!total) return 0;
  double mean = (double)sum / (double)total;
  return (uint32_t)(((double)squares / (double)total - mean * mean) * 65536.0);
}

// Equal parts by width: the class of a channel is 1 + how many of the bounds it exceeds.
KDN_INLINE int32_t kdn_first_partition_body(
  const uint32_t *counts, const kdn_reach *reaches, uint64_t channels, uint32_t tables,
  uint8_t *classes, uint32_t *widths
) {
  uint64_t live = 0;
  for (uint64_t c = 0; c < channels; c++) {
    if (!classes[c]) continue;
    widths[live++] = kdn_width(counts + c * 256, reaches[c]);
  }
  // Bounds by bisection of the value, so that nothing need be sorted.
  uint32_t bounds[KDN_EXACT_TABLES] = {0}, largest = 0;
  for (uint64_t i = 0; i < live; i++) largest = widths[i] > largest ? widths[i] : largest;
  for (uint32_t k = 1; k < tables; k++) {
    uint32_t low = bounds[k - 1], high = largest;
    while (low < high) {
      uint32_t middle = low + (high - low) / 2, below = 0;
      for (uint64_t i = 0; i < live; i++) below += widths[i] <= middle;
      if ((uint64_t)below * tables >= live * k) high = middle; else low = middle + 1;
    }
    bounds[k] = low;
  }
  for (uint64_t c = 0, i = 0; c < channels; c++) {
    if (!classes[c]) continue;
    uint32_t cls = 1;
    for (uint32_t k = 1; k < tables; k++) cls += widths[i] > bounds[k];
    classes[c] = (uint8_t)cls;
    i++;
  }
  return KDN_OK;
}
KDN_PATHS(
  int32_t, kdn_first_partition,
  (const uint32_t *counts, const kdn_reach *reaches, uint64_t channels, uint32_t tables,
   uint8_t *classes, uint32_t *widths),
  (counts, reaches, channels, tables, classes, widths))

// The tables' frequencies from their channels; *kept tables have any, and are moved to the front.
static int32_t kdn_make_tables(
  const uint32_t *counts, const kdn_reach *reaches, uint64_t channels, uint32_t tables,
  uint8_t *classes, uint16_t *frequencies, uint32_t *kept
) {
  uint64_t sums[KDN_EXACT_TABLES][256];
  uint8_t renamed[KDN_EXACT_TABLES + 1] = {0};
  memset(sums, 0, sizeof sums);
  for (uint64_t c = 0; c < channels; c++) {
    if (!classes[c]) continue;
    const uint32_t *row = counts + c * 256;
    kdn_reach reach = reaches[c];
    for (uint32_t i = reach.low; i <= reach.high; i++) sums[classes[c] - 1][i] += row[i];
  }
  *kept = 0;
  for (uint32_t k = 0; k < tables; k++) {
    uint64_t total = 0;
    for (int i = 0; i < 256; i++) total += sums[k][i];
    if (!total) continue;
    int32_t result = kdn_normalize(sums[k], frequencies + *kept * 256);
    if (result != KDN_OK) return result;
    renamed[k + 1] = (uint8_t)++*kept;
  }
  for (uint64_t c = 0; c < channels; c++) classes[c] = renamed[classes[c]];
  return KDN_OK;
}

// Each channel to the table that codes it in the fewest bits; its own codes all of it.
KDN_INLINE int32_t kdn_assign_body(
  const uint32_t *counts, const kdn_reach *reaches, uint64_t channels, uint32_t tables,
  const uint16_t *frequencies, uint8_t *classes
) {
  // All tables' costs of a symbol side by side: one vector.
  uint32_t costs[256][KDN_EXACT_TABLES];
  for (uint32_t k = 0; k < KDN_EXACT_TABLES; k++) {
    const uint16_t *row = frequencies + (k < tables ? k : 0) * 256;
    uint32_t escape = row[0] ? kdn_rough_cost(row[0]) + 16 * 256 : 32 * 256 * 256;
    for (int i = 0; i < 256; i++) costs[i][k] = i && row[i] ? kdn_rough_cost(row[i]) : escape;
  }
  for (uint64_t c = 0; c < channels; c++) {
    if (!classes[c]) continue;
    const uint32_t *row = counts + c * 256;
    uint64_t bits[KDN_EXACT_TABLES] = {0};
    for (uint32_t i = reaches[c].low; i <= reaches[c].high; i++) {
      for (uint32_t k = 0; k < KDN_EXACT_TABLES; k++) bits[k] += (uint64_t)row[i] * costs[i][k];
    }
    uint32_t best = 0;
    for (uint32_t k = 1; k < tables; k++) best = bits[k] < bits[best] ? k : best;
    classes[c] = (uint8_t)(best + 1);
  }
  return KDN_OK;
}
KDN_PATHS(
  int32_t, kdn_assign,
  (const uint32_t *counts, const kdn_reach *reaches, uint64_t channels, uint32_t tables,
   const uint16_t *frequencies, uint8_t *classes),
  (counts, reaches, channels, tables, frequencies, classes))

int32_t kdn_exact_tables(
  const uint32_t *counts, uint64_t channels, uint32_t tables, uint8_t *classes,
  uint16_t *frequencies, uint32_t *table_count, uint32_t *scratch
) {
  if (!tables || tables > KDN_EXACT_TABLES || channels > KDN_CHANNELS_MAX) {
    return KDN_BAD_ARGUMENT;
  }
  int32_t path = kdn_resolve(KDN_AUTO);
  kdn_reach *reaches = (kdn_reach *)(scratch + channels);
  for (uint64_t c = 0; c < channels; c++) {
    reaches[c] = kdn_reach_of(counts + c * 256);
    classes[c] = reaches[c].low != 128 || reaches[c].high != 128;
  }
  if (tables > 1) {
    kdn_first_partition_on(path, counts, reaches, channels, tables, classes, scratch);
  }
  int32_t result = kdn_make_tables(
    counts, reaches, channels, tables, classes, frequencies, table_count);
  for (int round = 0; result == KDN_OK && round < KDN_ROUNDS && *table_count > 1; round++) {
    kdn_assign_on(path, counts, reaches, channels, *table_count, frequencies, classes);
    result = kdn_make_tables(
      counts, reaches, channels, *table_count, classes, frequencies, table_count);
  }
  return result;
}
