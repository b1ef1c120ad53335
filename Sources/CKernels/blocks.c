#include "elements.h"
#include "planes.h"
#include "products.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

// Whether a block has its planes, of the same tokens, and a channel for each column.
static int32_t kdn_check_block(const kdn_block *block) {
  const kdn_basis *basis = block->basis;
  uint64_t channels = 0, count = block->block.count;
  if (!block->plane_count || block->plane_count > KDN_CHANNELS_MAX) return KDN_BAD_ARGUMENT;
  for (uint64_t i = 0; i < block->plane_count; i++) {
    const kdn_plane *plane = &block->planes[i];
    if (!kdn_plane_span(plane)) return KDN_BAD_ARGUMENT;
    if (plane->tokens != block->planes[0].tokens) return KDN_BAD_ARGUMENT;
    // Heads lie apart by all of their tokens; the last one's end the plane.
    if (block->raw_tokens > KDN_ELEMENTS_MAX) return KDN_BAD_ARGUMENT;
    if (plane->heads > 1 && plane->head_tokens - plane->tokens < block->raw_tokens) {
      return KDN_BAD_ARGUMENT;
    }
    channels += kdn_channels(plane);
  }
  if (!count || count > KDN_CHANNELS_MAX) return KDN_BAD_ARGUMENT;
  if (!basis) return block->plane_count == 1 && count == channels ? KDN_OK : KDN_BAD_ARGUMENT;
  if (block->block.shift > KDN_SHIFT_MAX) return KDN_BAD_ARGUMENT;
  return basis->columns == channels ? KDN_OK : KDN_BAD_ARGUMENT;
}

static uint64_t kdn_numbers(const kdn_block *block) {
  return kdn_stride(block->block.classes, block->block.count) * block->planes->tokens;
}

// Bytes that ordering, checking, or a plane takes, whichever is most.
static uint64_t kdn_step_bytes(const kdn_block *block) {
  if (!block->basis) return kdn_row_scratch_bytes(block->planes);
  uint64_t count = block->block.count, most = kdn_order_scratch_bytes(count);
  uint64_t sums = kdn_padded(block->basis->columns) * 4 + 64;
  most = sums > most ? sums : most;
  for (uint64_t i = 0; i < block->plane_count; i++) {
    uint64_t needed = kdn_transform_scratch_bytes(&block->planes[i], count);
    most = needed > most ? needed : most;
  }
  return most;
}

// How many of the next blocks are decoded at once: those of as many tokens.
static uint64_t kdn_together(const kdn_block *blocks, uint64_t left) {
  uint64_t count = 1;
  while (count < left && count < KDN_STREAMS) {
    if (blocks[count].planes->tokens != blocks->planes->tokens) break;
    count++;
  }
  return count;
}

// Scratch: numbers and classes of blocks that are decoded at once, and what a step takes.
uint64_t kdn_lossy_scratch_bytes(const kdn_block *blocks, uint64_t block_count) {
  uint64_t numbers = 0, step = 0;
  for (uint64_t i = 0; i < block_count; i++) {
    if (kdn_check_block(&blocks[i]) != KDN_OK) return 0;
    uint64_t own = kdn_numbers(&blocks[i]) * 2 + kdn_padded(blocks[i].block.count) + 2 * 64;
    uint64_t needed = kdn_step_bytes(&blocks[i]);
    numbers = own > numbers ? own : numbers;
    step = needed > step ? needed : step;
  }
  return numbers * (block_count < KDN_STREAMS ? block_count : KDN_STREAMS) + step + 64;
}

// Whether no sum of products with numbers up to `largest` takes more than 32 bits. What is known of
// the basis without looking at the block settles most.
static int32_t kdn_check_sums(const kdn_block *block, uint64_t largest, uint32_t *sums) {
  const kdn_basis *basis = block->basis;
  const kdn_transform *transform = &block->block;
  uint64_t rounding = transform->count * ((1u << transform->shift) >> 1);
  uint64_t bound = basis->column_sums[transform->count - 1] + rounding;
  if (largest * bound < 1ull << 31) return KDN_OK;
  bound = kdn_column_bound(
    transform->classes, transform->count, basis->matrix, basis->columns, transform->shift, sums);
  return largest && (bound >> 31 || largest * bound >> 31) ? KDN_SUMS_TOO_LARGE : KDN_OK;
}

// A plane that was decoded just now, and is near still.
static void kdn_take_sum(const kdn_block *block, uint64_t index, XXH3_state_t *state) {
  const kdn_plane *plane = &block->planes[index];
  uint64_t token = plane->dims * kdn_element_bytes(plane->type);
  const uint8_t *first = (const uint8_t *)block->outs[index] - block->raw_tokens * token;
  if (!block->checksum) return;
  for (uint64_t h = 0; h < plane->heads; h++) {
    XXH3_64bits_update(
      state, first + h * plane->head_tokens * token, (block->raw_tokens + plane->tokens) * token);
  }
}

static int32_t kdn_finish_transform(
  int32_t path, const kdn_block *block, int16_t *q, uint64_t q_count, uint8_t *scratch,
  uint64_t scratch_bytes, XXH3_state_t *state
) {
  const kdn_transform *transform = &block->block;
  uint32_t largest = 0;
  uint8_t *free_scratch = scratch;
  int32_t result = kdn_transform_order(
    path, transform->classes, transform->count, block->planes->tokens, q, q_count, &largest,
    scratch, scratch_bytes);
  if (result == KDN_OK) {
    uint32_t *sums = kdn_carve(&free_scratch, block->basis->columns * 4);
    result = kdn_check_sums(block, largest, sums);
  }
  const kdn_basis *basis = block->basis;
  kdn_columns columns = {basis->matrix, basis->columns, 0, basis->scales, basis->means};
  for (uint64_t i = 0; i < block->plane_count && result == KDN_OK; i++) {
    result = kdn_reconstruct_plane(
      path, &block->planes[i], &columns, transform, NULL, q, q_count, scratch, scratch_bytes,
      block->outs[i], block->out_bytes[i]);
    if (result == KDN_OK) kdn_take_sum(block, i, state);
    uint64_t channels = kdn_channels(&block->planes[i]);
    columns.first += channels;
    columns.scales += channels;
    columns.means += channels;
  }
  return result;
}

static int32_t kdn_finish_block(
  int32_t path, const kdn_block *block, int16_t *q, uint64_t q_count, uint8_t *scratch,
  uint64_t scratch_bytes
) {
  int32_t result;
  XXH3_state_t state;
  if (block->checksum) XXH3_64bits_reset(&state);
  if (block->basis) {
    result = kdn_finish_transform(path, block, q, q_count, scratch, scratch_bytes, &state);
  } else {
    const kdn_transform *uniform = &block->block;
    result = kdn_uniform_reconstruct(
      path, block->planes, uniform->classes, uniform->means, block->weights, uniform->step, q,
      q_count, scratch, scratch_bytes, block->outs[0], block->out_bytes[0]);
    if (result == KDN_OK) kdn_take_sum(block, 0, &state);
  }
  if (block->checksum && result == KDN_OK) *block->checksum = XXH3_64bits_digest(&state);
  return result;
}

// The block's stream with its classes and the memory that it takes.
static int32_t kdn_open_block(const kdn_block *block, kdn_stream *stream, uint8_t **scratch) {
  const kdn_transform *own = &block->block;
  *stream = block->stream;
  stream->q_count = kdn_numbers(block);
  stream->q = kdn_carve(scratch, stream->q_count * 2);
  stream->count = own->count;
  stream->classes = own->classes;
  if (!block->basis) return KDN_OK;
  uint8_t *unmarked = kdn_carve(scratch, own->count), marked_only = 0;
  for (uint64_t n = 0; n < own->count; n++) {
    unmarked[n] = own->classes[n] & (KDN_COARSE - 1);
    marked_only |= own->classes[n] == KDN_COARSE;
  }
  stream->classes = unmarked;
  return marked_only ? KDN_BAD_ARGUMENT : KDN_OK;
}

int32_t kdn_decode_lossy(
  int32_t path, const kdn_block *blocks, uint64_t block_count, void *scratch,
  uint64_t scratch_bytes
) {
  uint64_t needed = kdn_lossy_scratch_bytes(blocks, block_count);
  path = kdn_resolve(path);
  if (!needed || !path) return KDN_BAD_ARGUMENT;
  if (scratch_bytes < needed) return KDN_NO_ROOM;
  for (uint64_t i = 0, count; i < block_count; i += count) {
    count = kdn_together(blocks + i, block_count - i);
    uint8_t *free_scratch = scratch;
    kdn_stream streams[KDN_STREAMS];
    int32_t results[KDN_STREAMS];
    for (uint64_t k = 0; k < count; k++) {
      int32_t result = kdn_open_block(&blocks[i + k], &streams[k], &free_scratch);
      if (result != KDN_OK) return result;
    }
    uint64_t rest = scratch_bytes - (uint64_t)(free_scratch - (uint8_t *)scratch);
    kdn_rans_decode_streams(path, streams, count, blocks[i].planes->tokens, results);
    for (uint64_t k = 0; k < count; k++) {
      if (results[k] != KDN_OK) return results[k];
      int32_t result = kdn_finish_block(
        path, &blocks[i + k], streams[k].q, streams[k].q_count, free_scratch, rest);
      if (result != KDN_OK) return result;
    }
  }
  return KDN_OK;
}
