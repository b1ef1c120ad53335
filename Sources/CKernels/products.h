#ifndef KDN_KERNELS_PRODUCTS_H
#define KDN_KERNELS_PRODUCTS_H

#include "internal.h"

// Columns of a panel: two AVX-512 registers of i32.
#define KDN_PANEL 32
// Tokens of a tile: 24 accumulators.
#define KDN_TILE 12

// The coded coefficients of a block, as a path takes them. AVX-512 takes the coarse ones by fours
// as bytes and the others by twos as i16; other paths take all as i16.
typedef struct {
  const uint8_t *classes;
  uint32_t *numbers;  // rows of the basis: those taken as bytes, then those taken as i16
  uint64_t bytes;     // how many of either
  uint64_t words;
  uint32_t shift;     // of coarse rows
} kdn_lots;

// Fills in `lots`, whose numbers have room for all coded coefficients.
void kdn_make_lots(
  kdn_lots *lots, int32_t path, const uint8_t *classes, uint64_t count, uint32_t shift,
  uint32_t *numbers);

// i32 of a panel of so many coefficients at most, and of what is added to its columns.
KDN_INLINE uint64_t kdn_panel_room(uint64_t padded) { return (padded / 2 + 1) * KDN_PANEL; }

// The rows of the basis for up to KDN_PANEL columns: what is added to each column, then fours, then
// pairs, as they stream through a tile.
void kdn_pack_panel(
  int32_t path, const kdn_lots *lots, const int16_t *basis, uint64_t columns, uint64_t width,
  int32_t *panel);

// acc[t][c] of at most KDN_TILE rows of q, as kdn_transform_order left them, and a panel.
void kdn_tile(
  int32_t path, const kdn_lots *lots, const int16_t *q, uint64_t stride, uint64_t tokens,
  const int32_t *panel, int32_t *sums);

// Columns of a basis that belong to a plane.
typedef struct {
  const int16_t *matrix;
  uint64_t count;       // of the whole basis: how far its rows are apart
  uint64_t first;       // the plane's first
  const float *scales;  // from there on
  const float *means;
} kdn_columns;

// kdn_transform_offsets of a panel, whose widths are scale times step.
void kdn_panel_offsets(
  int32_t path, const kdn_transform *block, const int16_t *basis, uint64_t columns,
  uint64_t width, const float *widths, const float *means, float *offsets);

// One plane of a block; `offsets` NULL: they are made of the block's means on the way, while what
// they need is near. Then the columns' means are needed too.
int32_t kdn_reconstruct_plane(
  int32_t path, const kdn_plane *plane, const kdn_columns *columns, const kdn_transform *block,
  const float *offsets, const int16_t *q, uint64_t q_count, void *scratch,
  uint64_t scratch_bytes, void *out, uint64_t out_bytes);

#endif
