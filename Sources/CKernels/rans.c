#include "internal.h"

// Fetches the values of the escapes (-128) in a row of 32 lanes.
int32_t kdn_patch_escapes(kdn_reader *reader, int16_t *q) {
  for (uint32_t lane = 0; lane < KDN_LANES; lane++) {
    if (q[lane] != -128) continue;
    if (reader->escape_next == reader->escape_count) return KDN_BAD_ESCAPE;
    q[lane] = (int16_t)kdn_u16(reader->escapes + 2 * reader->escape_next++);
  }
  return KDN_OK;
}

int32_t kdn_decode_block_scalar(kdn_reader *reader, uint64_t tokens) {
  uint32_t *states = reader->states;
  int16_t *q = reader->q;
  for (uint64_t t = 0; t < tokens; t++, q += reader->stride) {
    uint32_t escaped = 0;
    for (uint32_t lane = 0; lane < KDN_LANES; lane++) {
      uint32_t x = states[lane];
      uint32_t entry = reader->tables[reader->bases[lane] + (x & (KDN_SLOTS - 1))];
      x = (entry & 0xfff) * (x >> KDN_TABLE_BITS) + (entry >> 12 & 0xfff);
      if (x < KDN_LOWER_BOUND) {
        if (reader->end - reader->words < 2) return KDN_TRUNCATED;
        x = x << 16 | kdn_u16(reader->words);
        reader->words += 2;
      }
      states[lane] = x;
      q[lane] = (int8_t)(entry >> 24);
      escaped |= q[lane] == -128;
    }
    if (escaped) {
      int32_t result = kdn_patch_escapes(reader, q);
      if (result != KDN_OK) return result;
    }
  }
  return KDN_OK;
}

static int32_t kdn_finish_reading(const kdn_reader *reader) {
  for (uint32_t lane = 0; lane < KDN_LANES; lane++) {
    if (reader->states[lane] != KDN_LOWER_BOUND) return KDN_BAD_STATE;
  }
  if (reader->words != reader->end) return KDN_TRAILING;
  return reader->escape_next == reader->escape_count ? KDN_OK : KDN_TRAILING;
}

// The next 32 coded coefficients' tables; the rest is padding.
static void kdn_take_block(kdn_reader *reader) {
  uint32_t lane = 0;
  for (; reader->next < reader->count && lane < KDN_LANES; reader->next++) {
    uint32_t cls = reader->classes[reader->next];
    if (cls) reader->bases[lane++] = cls * KDN_SLOTS;
  }
  while (lane < KDN_LANES) reader->bases[lane++] = 0;
}

static int32_t kdn_open_stream(const kdn_stream *stream, uint64_t tokens, kdn_reader *reader) {
  if (stream->table_count > 256 || stream->count > KDN_CHANNELS_MAX) return KDN_BAD_ARGUMENT;
  if (!kdn_classes_below(stream->classes, stream->count, stream->table_count)) {
    return KDN_BAD_ARGUMENT;
  }
  if (stream->stream_bytes < KDN_STATE_BYTES || stream->stream_bytes % 2) return KDN_TRUNCATED;
  uint64_t stride = kdn_stride(stream->classes, stream->count);
  if (stream->q_count < stride * tokens) return KDN_NO_ROOM;
  *reader = (kdn_reader){
    .tables = stream->tables, .words = stream->stream + KDN_STATE_BYTES,
    .end = stream->stream + stream->stream_bytes, .escapes = stream->escapes,
    .escape_count = stream->escape_count, .classes = stream->classes, .count = stream->count,
    .q = stream->q, .stride = stride,
  };
  memcpy(reader->states, stream->stream, KDN_STATE_BYTES);
  for (uint32_t lane = 0; lane < KDN_LANES; lane++) {
    if (reader->states[lane] < KDN_LOWER_BOUND) return KDN_BAD_STATE;
  }
  return KDN_OK;
}

// A block of each of the streams.
static void kdn_decode_lane_blocks(
  int32_t path, kdn_reader *const *readers, uint64_t count, uint64_t tokens
) {
#if KDN_X86
  if (path == KDN_AVX512) return kdn_decode_blocks_avx512(readers, count, tokens);
  kdn_block_decoder decode =
    path == KDN_AVX2 ? kdn_decode_block_avx2 : kdn_decode_block_scalar;
#else
  kdn_block_decoder decode = kdn_decode_block_scalar;
  (void)path;
#endif
  for (uint64_t i = 0; i < count; i++) readers[i]->result = decode(readers[i], tokens);
}

int32_t kdn_rans_decode_streams(
  int32_t path, const kdn_stream *streams, uint64_t stream_count, uint64_t tokens,
  int32_t *results
) {
  path = kdn_resolve(path);
  if (!path || !stream_count || stream_count > KDN_STREAMS || tokens > KDN_ELEMENTS_MAX) {
    return KDN_BAD_ARGUMENT;
  }
  kdn_reader readers[KDN_STREAMS];
  for (uint64_t i = 0; i < stream_count; i++) {
    readers[i].result = KDN_OK;
    results[i] = kdn_open_stream(&streams[i], tokens, &readers[i]);
  }
  for (uint64_t block = 0;; block += KDN_LANES) {
    kdn_reader *active[KDN_STREAMS];
    uint64_t count = 0;
    for (uint64_t i = 0; i < stream_count; i++) {
      if (results[i] != KDN_OK || block >= readers[i].stride) continue;
      kdn_take_block(&readers[i]);
      readers[i].q = streams[i].q + block;
      active[count++] = &readers[i];
    }
    if (!count) break;
    kdn_decode_lane_blocks(path, active, count, tokens);
    for (uint64_t i = 0; i < stream_count; i++) {
      if (results[i] == KDN_OK) results[i] = readers[i].result;
    }
  }
  int32_t first = KDN_OK;
  for (uint64_t i = 0; i < stream_count; i++) {
    if (results[i] == KDN_OK) results[i] = kdn_finish_reading(&readers[i]);
    if (first == KDN_OK) first = results[i];
  }
  return first;
}

int32_t kdn_rans_decode(
  int32_t path, const uint32_t *tables, uint32_t table_count, const uint8_t *classes,
  uint64_t count, uint64_t tokens, const uint8_t *stream, uint64_t stream_bytes,
  const uint8_t *escapes, uint64_t escape_count, int16_t *q, uint64_t q_count
) {
  kdn_stream one = {
    .tables = tables, .table_count = table_count, .classes = classes, .count = count,
    .stream = stream, .stream_bytes = stream_bytes, .escapes = escapes,
    .escape_count = escape_count, .q = q, .q_count = q_count,
  };
  int32_t result;
  return kdn_rans_decode_streams(path, &one, 1, tokens, &result);
}

// MARK: encoding

// The symbol index 1...255 of a value that its table codes, else 0, the escape.
KDN_INLINE uint64_t kdn_entry(const uint64_t *table, int32_t value, uint32_t *escaped) {
  uint32_t index = (uint32_t)(value + 128);
  uint64_t entry = index - 1 < 255 ? table[index] : 0;
  *escaped = entry == 0;
  return entry ? entry : table[0];
}

int32_t kdn_encode_block_scalar(
  kdn_writer *writer, const uint32_t *bases, uint64_t tokens, uint64_t stride, const int16_t *q
) {
  for (uint64_t t = tokens; t-- > 0;) {
    const int16_t *row = q + t * stride;
    for (uint32_t lane = KDN_LANES; lane-- > 0;) {
      uint32_t escaped;
      uint64_t entry = kdn_entry(writer->tables + bases[lane], row[lane], &escaped);
      uint32_t frequency = entry & 0xfff;
      if (frequency == 0) return KDN_BAD_TABLE;
      if (escaped) {
        if (writer->escapes - writer->escape_floor < 2) return KDN_NO_ROOM;
        writer->escapes -= 2;
        memcpy(writer->escapes, &row[lane], 2);
      }
      uint32_t x = writer->states[lane];
      if (x >> (32 - KDN_TABLE_BITS) >= frequency) {
        if (writer->words - writer->floor < 2) return KDN_NO_ROOM;
        writer->words -= 2;
        uint16_t word = (uint16_t)x;
        memcpy(writer->words, &word, 2);
        x >>= 16;
      }
      uint32_t shift = entry >> 24 & 0x1f;
      uint32_t quotient = shift ? (uint32_t)(x * (entry >> 32) >> 32 >> (shift - 1)) : x;
      uint32_t rest = x - quotient * frequency;
      if (rest >= frequency) {
        quotient += 1;
        rest -= frequency;
      }
      writer->states[lane] = (quotient << KDN_TABLE_BITS) + rest + (entry >> 12 & 0xfff);
    }
  }
  return KDN_OK;
}

static kdn_block_encoder kdn_encoder(int32_t path) {
#if KDN_X86
  if (path == KDN_AVX512) return kdn_encode_block_avx512;
  if (path == KDN_AVX2) return kdn_encode_block_avx2;
#endif
  (void)path;
  return kdn_encode_block_scalar;
}

// Blocks are written last first: the decoder's first word is the last one written.
static int32_t kdn_encode_blocks(
  int32_t path, kdn_writer *writer, const uint8_t *classes, uint64_t count, uint64_t tokens,
  uint64_t stride, const int16_t *q
) {
  kdn_block_encoder encode = kdn_encoder(path);
  uint64_t next = count, coded = 0;
  for (uint64_t i = 0; i < count; i++) coded += classes[i] != 0;
  for (uint64_t block = stride; block > 0;) {
    block -= KDN_LANES;
    uint32_t bases[KDN_LANES] = {0};
    for (uint64_t lane = coded - block; lane > 0;) {
      if (classes[--next]) bases[--lane] = classes[next] * 256u;
    }
    coded = block;
    int32_t result = encode(writer, bases, tokens, stride, q + block);
    if (result != KDN_OK) return result;
  }
  return KDN_OK;
}

int32_t kdn_rans_encode(
  int32_t path, const uint64_t *tables, uint32_t table_count, const uint8_t *classes,
  uint64_t count, uint64_t tokens, const int16_t *q, uint64_t q_count, uint8_t *stream,
  uint64_t stream_capacity, uint64_t *stream_bytes, uint8_t *escapes, uint64_t escape_capacity,
  uint64_t *escape_count
) {
  path = kdn_resolve(path);
  if (!path || table_count > 256) return KDN_BAD_ARGUMENT;
  if (count > KDN_CHANNELS_MAX || tokens > KDN_ELEMENTS_MAX) return KDN_BAD_ARGUMENT;
  if (!kdn_classes_below(classes, count, table_count)) return KDN_BAD_ARGUMENT;
  uint64_t stride = kdn_stride(classes, count);
  if (q_count < stride * tokens) return KDN_NO_ROOM;
  if (stream_capacity < KDN_STATE_BYTES) return KDN_NO_ROOM;
  uint8_t *end = stream + stream_capacity / 2 * 2;
  uint8_t *escape_end = escapes + escape_capacity;
  kdn_writer writer = {
    .tables = tables, .words = end, .floor = stream + KDN_STATE_BYTES, .escapes = escape_end,
    .escape_floor = escapes,
  };
  for (uint32_t lane = 0; lane < KDN_LANES; lane++) writer.states[lane] = KDN_LOWER_BOUND;
  int32_t result = kdn_encode_blocks(path, &writer, classes, count, tokens, stride, q);
  if (result != KDN_OK) return result;
  memcpy(stream, writer.states, KDN_STATE_BYTES);
  memmove(stream + KDN_STATE_BYTES, writer.words, (size_t)(end - writer.words));
  *stream_bytes = KDN_STATE_BYTES + (uint64_t)(end - writer.words);
  *escape_count = (uint64_t)(escape_end - writer.escapes) / 2;
  if (*escape_count) memmove(escapes, writer.escapes, 2 * *escape_count);
  return KDN_OK;
}
