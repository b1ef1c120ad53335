#ifndef KDN_KERNELS_H
#define KDN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KDN_API __attribute__((visibility("default")))

// Inner loops of the KV codecs. Pure functions over pointers and lengths: no allocation, no state
// kept. Every byte of a block is untrusted: whatever it says, nothing outside the given lengths is
// read or written; what cannot be decoded gives an error. Decoding gives the same bits on every
// path (and in Swift, numpy and torch): each f32 operation is rounded by itself, never fused.

// MARK: results and paths

enum {
  KDN_OK = 0,
  KDN_BAD_ARGUMENT = -1,  // a count, class, type or length outside its limits
  KDN_TRUNCATED = -2,     // the word stream ended before the last symbol
  KDN_TRAILING = -3,      // words or escapes are left over
  KDN_BAD_STATE = -4,     // a first state below, or a last state other than, 2^16
  KDN_BAD_ESCAPE = -5,    // more escapes coded than given
  KDN_BAD_TABLE = -6,     // frequencies do not sum to KDN_SLOTS, or a needed one is zero
  KDN_OUT_OF_RANGE = -7,  // a value is not finite or takes more than 16 bits
  KDN_NO_ROOM = -8,       // the output or scratch given is too short
  KDN_SUMS_TOO_LARGE = -9,  // sums of products may take more than 32 bits
};

// Which instructions to use; tests force each. AUTO takes the best that the processor has.
enum { KDN_AUTO = 0, KDN_SCALAR = 1, KDN_AVX2 = 2, KDN_AVX512 = 3 };

// 1 if the processor can run `path`. A path that it cannot gives KDN_BAD_ARGUMENT everywhere.
KDN_API int32_t kdn_path_available(int32_t path);

// Element types as layouts number them.
enum { KDN_BF16 = 1, KDN_F16 = 2, KDN_F32 = 3, KDN_F8E4M3 = 4, KDN_F8E5M2 = 5, KDN_I8 = 6 };

// MARK: tables

#define KDN_TABLE_BITS 11
#define KDN_SLOTS 2048
#define KDN_LANES 32
// Static classes 1...69; class c has spread sigma / step = 2^((c - KDN_CLASS_UNIT) / 4).
// Class 0: not coded, all zero.
#define KDN_CLASSES 69
#define KDN_CLASS_UNIT 25
// Bytes of a stream's first states: 32 x u32.
#define KDN_STATE_BYTES 128

// Frequencies of a static class 1...69, else NULL: 256 x u16, frequency i is of symbol i - 128
// (i = 0, symbol -128: the escape); they sum to KDN_SLOTS, each symbol's slots follow the one's
// before it: start of i = sum of the frequencies below i.
KDN_API const uint16_t *kdn_class_frequencies(int32_t cls);

// 2048 decode entries: entry of slot s = symbol << 24 | (s - start) << 12 | frequency.
KDN_API int32_t kdn_decode_table(const uint16_t *frequencies, uint32_t *table);
// 256 encode entries: reciprocal << 32 | shift << 24 | start << 12 | frequency.
KDN_API int32_t kdn_encode_table(const uint16_t *frequencies, uint64_t *table);
// 256 costs in 1/256 bit; an escape's 16 bits are in cost 0; a symbol that has no slots costs as
// an escape.
KDN_API int32_t kdn_cost_table(const uint16_t *frequencies, uint16_t *costs);
// Table 0, of class 0: the padding symbol, all slots, no bits.
KDN_API void kdn_padding_tables(uint32_t *decode, uint64_t *encode);
// All tables of the static classes, table 0 first: 70 x 2048, 70 x 256, 70 x 256; any may be NULL.
KDN_API int32_t kdn_static_tables(uint32_t *decode, uint64_t *encode, uint16_t *costs);

// MARK: rANS
// A matrix of `count` coefficients x `tokens`, one class per coefficient; those with class != 0
// are coded in blocks of 32 lanes (the last padded), each block over all tokens. `q` is
// [tokens][stride] i16 with only the coded coefficients, stride = kdn_stride(classes, count).
// stream = 32 x u32 states, then u16 words. escapes: i16 values in decode order: block, token,
// lane. Streams and escapes are unaligned little-endian bytes.

// Coded coefficients rounded up to whole blocks of 32.
KDN_API uint64_t kdn_stride(const uint8_t *classes, uint64_t count);

KDN_API int32_t kdn_rans_decode(
  int32_t path, const uint32_t *tables, uint32_t table_count, const uint8_t *classes,
  uint64_t count, uint64_t tokens, const uint8_t *stream, uint64_t stream_bytes,
  const uint8_t *escapes, uint64_t escape_count, int16_t *q, uint64_t q_count);

// The same of 1 to KDN_STREAMS streams of as many tokens at once: while one waits for its table,
// the others go on. results[i]: of stream i; the first that is not KDN_OK is returned too.
#define KDN_STREAMS 3
typedef struct {
  const uint32_t *tables;
  uint32_t table_count;
  const uint8_t *classes;
  uint64_t count;
  const uint8_t *stream;
  uint64_t stream_bytes;
  const uint8_t *escapes;
  uint64_t escape_count;
  int16_t *q;
  uint64_t q_count;
} kdn_stream;
KDN_API int32_t kdn_rans_decode_streams(
  int32_t path, const kdn_stream *streams, uint64_t stream_count, uint64_t tokens,
  int32_t *results);

// The stream comes to stand at stream[0 ..< *stream_bytes], the escapes at
// escapes[0 ..< 2 * *escape_count]. KDN_STATE_BYTES + 2 * q_count + 64 bytes are always enough for
// the stream, 2 * q_count for the escapes; with less it may give KDN_NO_ROOM.
KDN_API int32_t kdn_rans_encode(
  int32_t path, const uint64_t *tables, uint32_t table_count, const uint8_t *classes,
  uint64_t count, uint64_t tokens, const int16_t *q, uint64_t q_count, uint8_t *stream,
  uint64_t stream_capacity, uint64_t *stream_bytes, uint8_t *escapes, uint64_t escape_capacity,
  uint64_t *escape_count);

// Moves the coded columns of dense rows [tokens][count] (stride `dense_stride` >= kdn_stride) to
// the front, in place, rows becoming kdn_stride long; the padding becomes zero.
KDN_API int32_t kdn_compact(
  const uint8_t *classes, uint64_t count, uint64_t tokens, uint64_t dense_stride, int16_t *q,
  uint64_t q_count);

// Counts [count][256] of the symbols of each column of dense rows; index as in frequencies.
KDN_API int32_t kdn_histograms(
  uint64_t count, uint64_t tokens, uint64_t dense_stride, const int16_t *q, uint64_t q_count,
  uint32_t *counts);

// Bounds between the second moments of the static classes, 70 x f32: for kdn_estimate_classes.
KDN_API int32_t kdn_static_moments(float *moments);
// Static class of each coefficient of dense rows by its mean square, 0 if it is all zero: ten times
// as fast as kdn_choose_classes, for well under 1 % more bits.
KDN_API int32_t kdn_estimate_classes(
  int32_t path, const float *moments, uint64_t count, uint64_t tokens, uint64_t dense_stride,
  const int16_t *q, uint64_t q_count, uint8_t *classes);

// Class of each coefficient of dense rows: 0 if the column is all zero, else that of the
// `class_count` classes from first_class on that takes the fewest bits (ties: the lowest).
// `near` not NULL: only classes within 2 of near[i] are tried. *total: 1/256 bits, may be NULL.
KDN_API int32_t kdn_choose_classes(
  const uint16_t *costs, uint32_t first_class, uint32_t class_count, const uint8_t *near,
  uint64_t count, uint64_t tokens, uint64_t dense_stride, const int16_t *q, uint64_t q_count,
  uint8_t *classes, uint64_t *total);

// MARK: planes and rotation

// A plane of elements in canonical order [head][token][dim]; the element of head h, token t, dim d
// lies at ((h * head_tokens) + t) * dims + d from the pointer given with the plane; so a window of
// the tokens of a plane is a pointer to its first token and the whole plane's head_tokens.
typedef struct {
  int32_t type;             // KDN_BF16 ... KDN_I8
  uint32_t heads;           // channel c = head * dims + dim
  uint32_t dims;
  uint32_t interleaved;     // pairs (2i, 2i+1); else neox: (i, i + rotary/2)
  uint32_t rotary_first;    // first rotated dim
  uint32_t rotary_dims;     // even; 0: no rotation
  uint64_t tokens;
  uint64_t head_tokens;     // >= tokens
  const float *cosines;     // [tokens][rotary_dims / 2], unused without rotation
  const float *sines;
} kdn_plane;

// Elements from the first to the last of the plane's window; 0 if the plane is malformed. At most
// 2^20 channels and 2^31 elements.
KDN_API uint64_t kdn_plane_span(const kdn_plane *plane);

// cosines, sines [tokens][half] of the angles (first_token + t) * frequencies[i].
//
// Sequence, all f64, each operation rounded by itself (numpy and torch repeat it):
//   angle = f64(first_token + t) * frequency
//   n = (angle * 0x1.45f306dc9c883p-1 + 0x1.8p52) - 0x1.8p52          (nearest even of angle*2/pi)
//   r = ((angle - n * 0x1.921fb544p0) - n * 0x1.0b4611a6p-34) - n * 0x1.3198a2e037073p-69
//   z = r * r
//   s = r + (r * z) * (S1 + z*(S2 + z*(S3 + z*(S4 + z*(S5 + z*S6)))))
//   c = (1 - 0.5 * z) + (z * z) * (C1 + z*(C2 + z*(C3 + z*(C4 + z*(C5 + z*C6)))))
//   S1 = -0x1.5555555555549p-3   S2 = 0x1.111111110f8a6p-7   S3 = -0x1.a01a019c161d5p-13
//   S4 = 0x1.71de357b1fe7dp-19   S5 = -0x1.ae5e68a2b9cebp-26 S6 = 0x1.5d93a5acfd57cp-33
//   C1 = 0x1.555555555554cp-5    C2 = -0x1.6c16c16c15177p-10 C3 = 0x1.a01a019cb159p-16
//   C4 = -0x1.27e4f809c52adp-22  C5 = 0x1.1ee9ebdb4b1c4p-29  C6 = -0x1.8fae9be8838d4p-37
//   k = i64(n) & 3: (cos, sin) = k 0: (c, s); 1: (-s, c); 2: (-c, -s); 3: (s, -c)
// then rounded to f32. KDN_BAD_ARGUMENT: a frequency that is not finite, or |angle| >= 2^31.
KDN_API int32_t kdn_rope_table(
  const double *frequencies, uint64_t half, uint64_t first_token, uint64_t tokens, float *cosines,
  float *sines);

// Rows [token][dim] of one head that stand next to each other, moved to other positions: x rotated
// by the angles of the table's first token, the same for all rows, in the plane's way (see
// kdn_uniform_decode), then x * scale unless that is 1, each product rounded; rounded to the type.
// `in` and `out` do not overlap; heads and head_tokens do not matter.
KDN_API int32_t kdn_move_rows(
  int32_t path, const kdn_plane *plane, float scale, const void *in, uint64_t in_bytes, void *out,
  uint64_t out_bytes);

// MARK: uniform blocks

// Bytes of scratch that a plane takes below (64-byte aligned or not).
KDN_API uint64_t kdn_scratch_bytes(const kdn_plane *plane);
// The same for kdn_uniform_reconstruct and kdn_exact_merge, whose q is the caller's.
KDN_API uint64_t kdn_row_scratch_bytes(const kdn_plane *plane);

// x = f32(16 * q + m) * (d * 0.0625f), d = step * weights[c] (weights NULL: d = step), rotated:
// a*cos - b*sin, b*cos + a*sin, each product rounded, then the sum; rounded to the type, nearest
// even. NaN becomes the positive quiet NaN (bf16 7FC0, f16 7E00, f32 7FC00000, fp8 7F, i8 0);
// e4m3 saturates at 448, e5m2 overflows to infinity; i8 saturates.
KDN_API int32_t kdn_uniform_decode(
  int32_t path, const uint32_t *tables, uint32_t table_count, const kdn_plane *plane,
  const uint8_t *classes, const int16_t *means, const float *weights, float step,
  const uint8_t *stream, uint64_t stream_bytes, const uint8_t *escapes, uint64_t escape_count,
  void *scratch, uint64_t scratch_bytes, void *out, uint64_t out_bytes);

// The second half of it, from q to elements.
KDN_API int32_t kdn_uniform_reconstruct(
  int32_t path, const kdn_plane *plane, const uint8_t *classes, const int16_t *means,
  const float *weights, float step, const int16_t *q, uint64_t q_count, void *scratch,
  uint64_t scratch_bytes, void *out, uint64_t out_bytes);

// MARK: transform blocks

// Coarse coefficients: KDN_COARSE is set in their class byte. Their rows of the basis count in
// steps of 2^shift, shift at most KDN_SHIFT_MAX, as many of them as a signed byte holds:
// b' = 2^shift * clamp(floor((b + floor(2^shift / 2)) / 2^shift), -128, 127). kdn_rans_decode takes
// classes without the mark.
#define KDN_COARSE 0x80
#define KDN_SHIFT_MAX 8

// To be called once for a block, before kdn_transform_reconstruct and with the same path: `q`, as
// kdn_rans_decode gives it, is put in the order that the path takes it in. *largest: the largest
// |q|. KDN_OUT_OF_RANGE: that of a coarse coefficient is more than 127.
KDN_API int32_t kdn_transform_order(
  int32_t path, const uint8_t *classes, uint64_t count, uint64_t tokens, int16_t *q,
  uint64_t q_count, uint32_t *largest, void *scratch, uint64_t scratch_bytes);
KDN_API uint64_t kdn_order_scratch_bytes(uint64_t count);

// q times basis: acc[t][c] = sum of q[t][n] * basis[n][c], or b' of it, in i32, wrapping.
// The caller checks max |q| * max column sum < 2^31 (kdn_column_bound).
//
// x = f32(acc) * (scales[c] * step) + offsets[c], product and sum rounded, rotated and rounded as
// above. One plane (a layer's K or V) of the group: its channels are columns first_column ...
// of the basis (rows of basis_columns), and `scales`, `offsets` begin at its first channel.
// `count` is the number of coefficients, of which the rows of the basis with class != 0 are read.
KDN_API int32_t kdn_transform_reconstruct(
  int32_t path, const kdn_plane *plane, const uint8_t *classes, uint64_t count,
  const int16_t *basis, uint64_t basis_columns, uint64_t first_column, uint32_t shift,
  const float *scales, const float *offsets, float step, const int16_t *q, uint64_t q_count,
  void *scratch, uint64_t scratch_bytes, void *out, uint64_t out_bytes);
KDN_API uint64_t kdn_transform_scratch_bytes(const kdn_plane *plane, uint64_t count);

// offsets[c] = means[c] + f32(f64(sum of m[n] * basis[n][c]) * (f64(scales[c] * step) * 0.0625)),
// over all n < count, whatever their classes; the product scales * step is f32.
KDN_API int32_t kdn_transform_offsets(
  const int16_t *m, uint64_t count, const int16_t *basis, uint64_t columns, const float *scales,
  const float *means, float step, float *offsets);

// The largest over columns of the sum of |basis[n][c]| over n with class != 0, and half of 2^shift
// for each coarse one: no sum of |b'| is larger.
KDN_API uint64_t kdn_column_bound(
  const uint8_t *classes, uint64_t count, const int16_t *basis, uint64_t columns, uint32_t shift,
  uint32_t *sums);  // scratch: columns x u32
// sums[n]: the largest over columns of the sum of |basis[i][c]| over i <= n: a bound of the columns
// of the first n + 1 rows, whichever of them are coded. scratch: columns x u32.
KDN_API void kdn_column_sums(
  const int16_t *basis, uint64_t rank, uint64_t columns, uint32_t *sums, uint32_t *scratch);
// The largest |b| of each row.
KDN_API void kdn_row_sizes(
  const int16_t *basis, uint64_t count, uint64_t columns, uint16_t *sizes);

// A basis of a profile.
typedef struct {
  const int16_t *matrix;        // [rank][columns]
  uint64_t columns;
  const float *scales;          // [columns]
  const float *means;
  const uint32_t *column_sums;  // [rank], of kdn_column_sums
} kdn_basis;

// What a transform block says, but for its stream.
typedef struct {
  const uint8_t *classes;  // [count], with the marks of coarse ones
  const int16_t *means;    // [count]
  uint64_t count;          // at most the basis' rank
  uint32_t shift;
  float step;
} kdn_transform;

// y[t][n] = sum over c of (x[t][c] - means[c]) * inverse_scales[c] * basis[n][c] * 2^-15 for
// n < count: the forward transform, f32, for encoding (not bit-equal between paths).
KDN_API int32_t kdn_project(
  int32_t path, const float *x, uint64_t tokens, uint64_t columns, const float *means,
  const float *inverse_scales, const int16_t *basis, uint64_t count, float *y, void *scratch,
  uint64_t scratch_bytes);
KDN_API uint64_t kdn_project_scratch_bytes(uint64_t tokens, uint64_t columns);

// MARK: several blocks

// A uniform or transform block: all that decoding it takes.
typedef struct {
  kdn_stream stream;        // without q, and without classes: they are those of `block`
  const kdn_basis *basis;   // NULL: a uniform block, of one plane
  const float *weights;     // of a uniform block; NULL: 1
  kdn_transform block;
  const kdn_plane *planes;  // in the order of the basis' columns; all have as many tokens
  uint64_t plane_count;
  void *const *outs;        // plane i goes to outs[i], of out_bytes[i]
  const uint64_t *out_bytes;
  uint64_t raw_tokens;      // of each head of the planes, right before outs[i], there already
  uint64_t *checksum;       // XXH3-64 of the planes, one after the other, raw tokens and all;
                            // NULL: not wanted
} kdn_block;

// Decodes one block after another, as kdn_uniform_decode and what is above do, up to the first that
// cannot be, and gives its result. KDN_SUMS_TOO_LARGE: see kdn_column_bound.
KDN_API int32_t kdn_decode_lossy(
  int32_t path, const kdn_block *blocks, uint64_t block_count, void *scratch,
  uint64_t scratch_bytes);
// 0 if a block is malformed.
KDN_API uint64_t kdn_lossy_scratch_bytes(const kdn_block *blocks, uint64_t block_count);

// MARK: exact blocks
// An element is cut in an 8-bit field E and whole raw bytes, the rest planes:
//   bf16, f16      E = bits 14...7   plane 0: bit 15 << 7 | bits 6...0
//   f32            E = bits 30...23  plane 0: bit 31 << 7 | bits 22...16; 1: 15...8; 2: 7...0
//   f8, i8         E = the byte      none
// q = (E - base[channel]) mod 256 as i8; where that is -128, q = 128, an escape. Any q decodes:
// E = (base + q) mod 256; class 0: q = 0. Any base is right; a good one is the mean of E. Rest
// planes are bytes in canonical order [head][token][dim], without gaps.

KDN_API uint32_t kdn_raw_planes(int32_t type);
KDN_API int32_t kdn_exact_bases(
  int32_t path, const kdn_plane *plane, const void *elements, uint64_t byte_count,
  uint8_t *bases);
// q: dense rows of stride (channels + 31) / 32 * 32, padding zero. raw: kdn_raw_planes(type) planes
// of channels * tokens bytes, one after another.
KDN_API int32_t kdn_exact_split(
  int32_t path, const kdn_plane *plane, const void *elements, uint64_t byte_count,
  const uint8_t *bases, int16_t *q, uint64_t q_count, uint8_t *raw, uint64_t raw_bytes);
// raw[p]: plane p, or NULL: all bytes of it are constants[p].
#define KDN_EXACT_TABLES 4
// Frequencies that sum to KDN_SLOTS from counts of symbols -128...127; none that occurs gets zero.
KDN_API int32_t kdn_normalize(const uint64_t *counts, uint16_t *frequencies);
// Classes 0...*table_count of the channels and the tables they share, at most `tables` of
// KDN_EXACT_TABLES: 256 frequencies each. counts: [channels][256] of kdn_histograms over the rows
// of kdn_exact_split. Class 0: all symbols are 0. scratch: 2 x channels x u32.
KDN_API int32_t kdn_exact_tables(
  const uint32_t *counts, uint64_t channels, uint32_t tables, uint8_t *classes,
  uint16_t *frequencies, uint32_t *table_count, uint32_t *scratch);
KDN_API int32_t kdn_exact_decode(
  int32_t path, const uint32_t *tables, uint32_t table_count, const kdn_plane *plane,
  const uint8_t *classes, const uint8_t *bases, const uint8_t *const raw[3],
  const uint8_t constants[3], const uint8_t *stream, uint64_t stream_bytes,
  const uint8_t *escapes, uint64_t escape_count, void *scratch, uint64_t scratch_bytes, void *out,
  uint64_t out_bytes);
// The second half of it, from q to elements.
KDN_API int32_t kdn_exact_merge(
  int32_t path, const kdn_plane *plane, const uint8_t *classes, const uint8_t *bases,
  const uint8_t *const raw[3], const uint8_t constants[3], const int16_t *q, uint64_t q_count,
  void *scratch, uint64_t scratch_bytes, void *out, uint64_t out_bytes);

// MARK: encoding

// Elements to f32 rows [token][channel], rotated back: a*cos + b*sin, b*cos - a*sin.
// KDN_OUT_OF_RANGE: an element is NaN or infinite (rows are written all the same).
KDN_API int32_t kdn_load(
  int32_t path, const kdn_plane *plane, const void *elements, uint64_t byte_count, float *rows,
  uint64_t row_stride, uint64_t rows_count);
// The reverse: rows to elements, rotated and rounded.
KDN_API int32_t kdn_store(
  int32_t path, const kdn_plane *plane, const float *rows, uint64_t row_stride,
  uint64_t rows_count, void *scratch, uint64_t scratch_bytes, void *out, uint64_t out_bytes);
// Mean, standard deviation and largest |x - mean| per channel, f64 sums.
KDN_API int32_t kdn_statistics(
  int32_t path, const float *rows, uint64_t tokens, uint64_t channels, uint64_t row_stride,
  float *means, float *spreads, float *largest);
// means[c] (f32) to 1/16 steps d[c]: m = nearest(mean * 16 / d). KDN_OUT_OF_RANGE beyond i16.
KDN_API int32_t kdn_quantize_means(
  const float *means, const float *steps, uint64_t count, int16_t *m);
// q = trunc(|x - m*d/16| / d + rounding) with the sign; rounding .5: nearest, less: a dead zone.
// steps: d[c]; q dense rows, padding zero. KDN_OUT_OF_RANGE: a value beyond i16.
KDN_API int32_t kdn_quantize(
  int32_t path, const float *rows, uint64_t tokens, uint64_t channels, uint64_t row_stride,
  const int16_t *m, const float *steps, float rounding, int16_t *q, uint64_t dense_stride);

#ifdef __cplusplus
}
#endif

#endif
