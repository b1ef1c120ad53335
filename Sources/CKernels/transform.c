#include "elements.h"
#include "planes.h"
#include "products.h"

// Sums to values: product and sum rounded.
KDN_INLINE void kdn_scale_body(
  const int32_t *restrict sums, uint64_t tokens, uint64_t width, const float *restrict widths,
  const float *restrict offsets, float *restrict x, uint64_t dims
) {
  for (uint64_t t = 0; t < tokens; t++, sums += KDN_PANEL, x += dims) {
    for (uint64_t c = 0; c < width; c++) x[c] = (float)sums[c] * widths[c] + offsets[c];
  }
}
KDN_PATHS(
  void, kdn_scale,
  (const int32_t *sums, uint64_t tokens, uint64_t width, const float *widths,
   const float *offsets, float *x, uint64_t dims),
  (sums, tokens, width, widths, offsets, x, dims))

// One head's rows [token][dim] rotated and rounded.
KDN_INLINE void kdn_finish_body(const kdn_plane *plane, uint64_t head, float *x, uint8_t *out) {
  for (uint64_t t = 0; t < plane->tokens; t++, x += plane->dims) {
    if (plane->rotary_dims) kdn_rotate(plane, t, 1, x);
    kdn_emit(plane->type, x, plane->dims, out + kdn_offset(plane, head, t));
  }
}
KDN_PATHS(
  void, kdn_finish, (const kdn_plane *plane, uint64_t head, float *x, uint8_t *out),
  (plane, head, x, out))

// Scratch: a panel, the coded coefficients' numbers, a head's rows.
uint64_t kdn_transform_scratch_bytes(const kdn_plane *plane, uint64_t count) {
  if (!kdn_plane_span(plane) || count > KDN_CHANNELS_MAX) return 0;
  uint64_t padded = kdn_padded(count);
  return kdn_panel_room(padded) * 4 + padded * 4 + plane->tokens * plane->dims * 4 + 3 * 64;
}

// The panel that comes next: its rows lie too far apart for the processor to see them coming.
typedef struct {
  const int16_t *basis;  // the last column of the first row
  uint64_t columns;
  uint64_t count;
} kdn_ahead;

// A head's rows before rotation, for up to KDN_PANEL columns whose panel there is; beside it what
// comes next is brought nearer.
static void kdn_fill_rows(
  int32_t path, const kdn_lots *lots, const int16_t *q, uint64_t stride, uint64_t tokens,
  const int32_t *panel, uint64_t width, const float *widths, const float *offsets, float *rows,
  uint64_t dims, const kdn_ahead *ahead
) {
  uint64_t n = 0;
  for (uint64_t t = 0; t < tokens; t += KDN_TILE) {
    int32_t sums[KDN_TILE * KDN_PANEL];
    uint64_t first = t, rest = tokens - t < KDN_TILE ? tokens - t : KDN_TILE;
    for (; n * tokens < ahead->count * (t + rest); n++) {
      __builtin_prefetch(ahead->basis + n * ahead->columns);
    }
    if (rest < 4 && tokens >= 4) {
      // Less than four rows take longer than four: some are done again.
      first = tokens - 4;
      rest = 4;
    }
    kdn_tile(path, lots, q + first * stride, stride, rest, panel, sums);
    kdn_scale_on(path, sums, rest, width, widths, offsets, rows + first * dims, dims);
  }
}

static int32_t kdn_check_reconstruct(
  const kdn_plane *plane, int32_t path, const kdn_columns *columns, const kdn_transform *block,
  uint64_t q_count, uint64_t scratch_bytes, uint64_t out_bytes
) {
  int32_t result = kdn_check_plane(plane, path, out_bytes);
  if (result != KDN_OK) return result;
  if (block->count > KDN_CHANNELS_MAX || block->shift > KDN_SHIFT_MAX) return KDN_BAD_ARGUMENT;
  if (columns->count > KDN_ELEMENTS_MAX || columns->first > columns->count) {
    return KDN_BAD_ARGUMENT;
  }
  if (columns->count - columns->first < kdn_channels(plane)) return KDN_BAD_ARGUMENT;
  if (scratch_bytes < kdn_transform_scratch_bytes(plane, block->count)) return KDN_NO_ROOM;
  uint64_t stride = kdn_stride(block->classes, block->count);
  return q_count < stride * plane->tokens ? KDN_NO_ROOM : KDN_OK;
}

int32_t kdn_reconstruct_plane(
  int32_t path, const kdn_plane *plane, const kdn_columns *columns, const kdn_transform *block,
  const float *offsets, const int16_t *q, uint64_t q_count, void *scratch,
  uint64_t scratch_bytes, void *out, uint64_t out_bytes
) {
  path = kdn_resolve(path);
  int32_t result = kdn_check_reconstruct(
    plane, path, columns, block, q_count, scratch_bytes, out_bytes);
  if (result != KDN_OK) return result;
  uint64_t stride = kdn_stride(block->classes, block->count);
  uint8_t *free_scratch = scratch;
  int32_t *panel = kdn_carve(&free_scratch, kdn_panel_room(stride) * 4);
  uint32_t *numbers = kdn_carve(&free_scratch, stride * 4);
  float *rows = kdn_carve(&free_scratch, plane->tokens * plane->dims * 4);
  kdn_lots lots;
  kdn_make_lots(&lots, path, block->classes, block->count, block->shift, numbers);
  uint32_t before = kdn_ieee_begin();
  for (uint64_t h = 0; h < plane->heads; h++) {
    for (uint64_t first = 0; first < plane->dims; first += KDN_PANEL) {
      uint64_t channel = h * plane->dims + first, column = columns->first + channel;
      uint64_t width = plane->dims - first < KDN_PANEL ? plane->dims - first : KDN_PANEL;
      const int16_t *matrix = columns->matrix + column;
      float widths[KDN_PANEL], made[KDN_PANEL];
      for (uint64_t c = 0; c < width; c++) widths[c] = columns->scales[channel + c] * block->step;
      if (!offsets) {
        kdn_panel_offsets(
          path, block, matrix, columns->count, width, widths, columns->means + channel, made);
      }
      kdn_pack_panel(path, &lots, matrix, columns->count, width, panel);
      uint64_t last = column + width + KDN_PANEL - 1;
      kdn_ahead ahead = {columns->matrix + last, columns->count, block->count};
      if (last >= columns->count) ahead.count = 0;
      kdn_fill_rows(
        path, &lots, q, stride, plane->tokens, panel, width, widths,
        offsets ? offsets + channel : made, rows + first, plane->dims, &ahead);
    }
    kdn_finish_on(path, plane, h, rows, out);
  }
  kdn_ieee_end(before);
  return KDN_OK;
}

int32_t kdn_transform_reconstruct(
  int32_t path, const kdn_plane *plane, const uint8_t *classes, uint64_t count,
  const int16_t *basis, uint64_t basis_columns, uint64_t first_column, uint32_t shift,
  const float *scales, const float *offsets, float step, const int16_t *q, uint64_t q_count,
  void *scratch, uint64_t scratch_bytes, void *out, uint64_t out_bytes
) {
  kdn_columns columns = {basis, basis_columns, first_column, scales, NULL};
  kdn_transform block = {classes, NULL, count, shift, step};
  if (!offsets) return KDN_BAD_ARGUMENT;
  return kdn_reconstruct_plane(
    path, plane, &columns, &block, offsets, q, q_count, scratch, scratch_bytes, out, out_bytes);
}
