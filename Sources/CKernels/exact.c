#include "elements.h"
#include "planes.h"

uint32_t kdn_raw_planes(int32_t type) {
  return type == KDN_F32 ? 3 : type == KDN_BF16 || type == KDN_F16 ? 1 : 0;
}

KDN_INLINE int32_t kdn_merge_body(
  const kdn_plane *plane, const kdn_rows *rows, const uint8_t *bases,
  const uint8_t *const raw[3], const uint8_t constants[3], const int16_t *q, uint8_t *out
) {
  uint64_t dims = plane->dims;
  uint8_t *restrict spare = (uint8_t *)rows->row;
  for (uint64_t t = 0; t < plane->tokens; t++) {
    const int16_t *dense = kdn_dense_row(rows, kdn_channels(plane), q + t * rows->stride);
    for (uint64_t h = 0; h < plane->heads; h++) {
      const int16_t *restrict row = dense + h * dims;
      const uint8_t *restrict base = bases + h * dims;
      uint8_t *restrict target = out + kdn_offset(plane, h, t);
      uint64_t at = (h * plane->tokens + t) * dims;
      const uint8_t *rest[3];
      for (int p = 0; p < 3; p++) rest[p] = raw[p] ? raw[p] + at : spare;
      for (uint64_t p = 0; p < kdn_raw_planes(plane->type) && dims; p++) {
        if (!raw[p]) {
          memset(spare + p * dims, constants[p], dims);
          rest[p] = spare + p * dims;
        }
      }
      const uint8_t *restrict r0 = rest[0], *restrict r1 = rest[1], *restrict r2 = rest[2];
      switch (plane->type) {
      case KDN_BF16:
      case KDN_F16:
        for (uint64_t d = 0; d < dims; d++) {
          uint16_t field = (uint8_t)(base[d] + row[d]);
          uint16_t bits = (uint16_t)((r0[d] & 0x80) << 8 | field << 7 | (r0[d] & 0x7f));
          memcpy(target + 2 * d, &bits, 2);
        }
        break;
      case KDN_F32:
        for (uint64_t d = 0; d < dims; d++) {
          uint32_t field = (uint8_t)(base[d] + row[d]), high = r0[d];
          uint32_t bits = (high & 0x80) << 24 | field << 23 | (high & 0x7f) << 16
            | (uint32_t)r1[d] << 8 | r2[d];
          memcpy(target + 4 * d, &bits, 4);
        }
        break;
      default:
        for (uint64_t d = 0; d < dims; d++) target[d] = (uint8_t)(base[d] + row[d]);
      }
    }
  }
  return KDN_OK;
}
KDN_PATHS(
  int32_t, kdn_merge,
  (const kdn_plane *plane, const kdn_rows *rows, const uint8_t *bases,
   const uint8_t *const raw[3], const uint8_t constants[3], const int16_t *q, uint8_t *out),
  (plane, rows, bases, raw, constants, q, out))

int32_t kdn_exact_merge(
  int32_t path, const kdn_plane *plane, const uint8_t *classes, const uint8_t *bases,
  const uint8_t *const raw[3], const uint8_t constants[3], const int16_t *q, uint64_t q_count,
  void *scratch, uint64_t scratch_bytes, void *out, uint64_t out_bytes
) {
  path = kdn_resolve(path);
  int32_t result = kdn_check_plane(plane, path, out_bytes);
  if (result != KDN_OK) return result;
  uint64_t channels = kdn_channels(plane);
  if (scratch_bytes < kdn_row_scratch_bytes(plane)) return KDN_NO_ROOM;
  uint8_t *free_scratch = scratch;
  kdn_rows rows;
  kdn_open_rows(&rows, classes, channels, &free_scratch);
  if (q_count < rows.stride * plane->tokens) return KDN_NO_ROOM;
  return kdn_merge_on(path, plane, &rows, bases, raw, constants, q, out);
}

int32_t kdn_exact_decode(
  int32_t path, const uint32_t *tables, uint32_t table_count, const kdn_plane *plane,
  const uint8_t *classes, const uint8_t *bases, const uint8_t *const raw[3],
  const uint8_t constants[3], const uint8_t *stream, uint64_t stream_bytes,
  const uint8_t *escapes, uint64_t escape_count, void *scratch, uint64_t scratch_bytes, void *out,
  uint64_t out_bytes
) {
  path = kdn_resolve(path);
  int32_t result = kdn_check_plane(plane, path, out_bytes);
  if (result != KDN_OK) return result;
  if (scratch_bytes < kdn_scratch_bytes(plane)) return KDN_NO_ROOM;
  uint64_t channels = kdn_channels(plane);
  uint64_t q_count = kdn_padded(channels) * plane->tokens;
  uint8_t *free_scratch = scratch;
  int16_t *q = kdn_carve(&free_scratch, q_count * 2);
  result = kdn_rans_decode(
    path, tables, table_count, classes, channels, plane->tokens, stream, stream_bytes, escapes,
    escape_count, q, q_count);
  if (result != KDN_OK) return result;
  return kdn_exact_merge(
    path, plane, classes, bases, raw, constants, q, q_count, free_scratch,
    scratch_bytes - (uint64_t)(free_scratch - (uint8_t *)scratch), out, out_bytes);
}

// Tokens over which sums of bytes fit 32 bits.
#define KDN_SUM_TOKENS 65536
#define KDN_SUM_DIMS 64

// Sums of E over tokens, of at most KDN_SUM_DIMS dims from `row` on.
KDN_INLINE void kdn_sum_fields(
  int32_t type, const uint8_t *restrict row, uint64_t count, uint32_t *restrict sums
) {
  switch (type) {
  case KDN_F32:
    for (uint64_t d = 0; d < count; d++) sums[d] += (uint8_t)(kdn_u32(row + 4 * d) >> 23);
    break;
  case KDN_BF16:
  case KDN_F16:
    for (uint64_t d = 0; d < count; d++) sums[d] += (uint8_t)(kdn_u16(row + 2 * d) >> 7);
    break;
  default:
    for (uint64_t d = 0; d < count; d++) sums[d] += row[d];
  }
}

KDN_INLINE int32_t kdn_bases_body(
  const kdn_plane *plane, const uint8_t *elements, uint8_t *bases
) {
  uint64_t size = kdn_element_bytes(plane->type);
  for (uint64_t h = 0; h < plane->heads; h++) {
    for (uint64_t first = 0; first < plane->dims; first += KDN_SUM_DIMS) {
      uint64_t totals[KDN_SUM_DIMS] = {0};
      uint64_t left = plane->dims - first;
      uint64_t count = left < KDN_SUM_DIMS ? left : KDN_SUM_DIMS;
      for (uint64_t from = 0; from < plane->tokens; from += KDN_SUM_TOKENS) {
        uint32_t sums[KDN_SUM_DIMS] = {0};
        for (uint64_t t = from; t < plane->tokens && t < from + KDN_SUM_TOKENS; t++) {
          const uint8_t *row = elements + kdn_offset(plane, h, t) + first * size;
          // A length that the compiler knows keeps the sums in registers.
          if (count == KDN_SUM_DIMS) kdn_sum_fields(plane->type, row, KDN_SUM_DIMS, sums);
          else kdn_sum_fields(plane->type, row, count, sums);
        }
        for (uint64_t d = 0; d < count; d++) totals[d] += sums[d];
      }
      for (uint64_t d = 0; d < count; d++) {
        uint64_t mean = (totals[d] + plane->tokens / 2) / plane->tokens;
        bases[h * plane->dims + first + d] = (uint8_t)mean;
      }
    }
  }
  return KDN_OK;
}
KDN_PATHS(
  int32_t, kdn_bases, (const kdn_plane *plane, const uint8_t *elements, uint8_t *bases),
  (plane, elements, bases))

int32_t kdn_exact_bases(
  int32_t path, const kdn_plane *plane, const void *elements, uint64_t byte_count,
  uint8_t *bases
) {
  path = kdn_resolve(path);
  int32_t result = kdn_check_plane(plane, path, byte_count);
  return result == KDN_OK ? kdn_bases_on(path, plane, elements, bases) : result;
}

// i8(E - base), but 128 instead of the escape.
KDN_INLINE int16_t kdn_difference(uint8_t field, uint8_t base) {
  int16_t q = (int8_t)(uint8_t)(field - base);
  return q == -128 ? 128 : q;
}

KDN_INLINE int32_t kdn_split_body(
  const kdn_plane *plane, const uint8_t *elements, const uint8_t *bases, uint64_t stride,
  int16_t *q, uint8_t *raw
) {
  uint64_t dims = plane->dims, count = kdn_channels(plane) * plane->tokens;
  for (uint64_t t = 0; t < plane->tokens; t++) {
    for (uint64_t h = 0; h < plane->heads; h++) {
      const uint8_t *restrict source = elements + kdn_offset(plane, h, t);
      const uint8_t *restrict base = bases + h * dims;
      int16_t *restrict row = q + t * stride + h * dims;
      uint8_t *restrict rest = raw ? raw + (h * plane->tokens + t) * dims : NULL;
      switch (plane->type) {
      case KDN_BF16:
      case KDN_F16:
        for (uint64_t d = 0; d < dims; d++) {
          uint16_t bits = kdn_u16(source + 2 * d);
          row[d] = kdn_difference((uint8_t)(bits >> 7), base[d]);
          rest[d] = (uint8_t)((bits >> 8 & 0x80) | (bits & 0x7f));
        }
        break;
      case KDN_F32:
        for (uint64_t d = 0; d < dims; d++) {
          uint32_t bits = kdn_u32(source + 4 * d);
          row[d] = kdn_difference((uint8_t)(bits >> 23), base[d]);
          rest[d] = (uint8_t)((bits >> 24 & 0x80) | (bits >> 16 & 0x7f));
          rest[d + count] = (uint8_t)(bits >> 8);
          rest[d + 2 * count] = (uint8_t)bits;
        }
        break;
      default:
        for (uint64_t d = 0; d < dims; d++) row[d] = kdn_difference(source[d], base[d]);
      }
    }
    for (uint64_t c = kdn_channels(plane); c < stride; c++) q[t * stride + c] = 0;
  }
  return KDN_OK;
}
KDN_PATHS(
  int32_t, kdn_split,
  (const kdn_plane *plane, const uint8_t *elements, const uint8_t *bases, uint64_t stride,
   int16_t *q, uint8_t *raw),
  (plane, elements, bases, stride, q, raw))

int32_t kdn_exact_split(
  int32_t path, const kdn_plane *plane, const void *elements, uint64_t byte_count,
  const uint8_t *bases, int16_t *q, uint64_t q_count, uint8_t *raw, uint64_t raw_bytes
) {
  path = kdn_resolve(path);
  int32_t result = kdn_check_plane(plane, path, byte_count);
  if (result != KDN_OK) return result;
  uint64_t channels = kdn_channels(plane), stride = kdn_padded(channels);
  if (q_count < stride * plane->tokens) return KDN_NO_ROOM;
  if (raw_bytes < channels * plane->tokens * kdn_raw_planes(plane->type)) return KDN_NO_ROOM;
  return kdn_split_on(path, plane, elements, bases, stride, q, raw);
}
