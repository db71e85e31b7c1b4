#include <math.h>

#include "lanes.h"
#include "transformer.h"

enum { ROWS = 4 };  // queries that share one pass over the keys or values

PB_CLONES
void pb_pack_keys(const float *keys, size_t stride, size_t count, size_t head_width, float *packed,
                  size_t first) {
  for (size_t i = 0; i < count; i++) {
    size_t position = first + i;
    float *lane = packed + position / PB_LANES * PB_LANES * head_width + position % PB_LANES;
    for (size_t d = 0; d < head_width; d++) lane[d * PB_LANES] = keys[i * stride + d];
  }
}

// Scores of `rows` neighbouring queries with a tile of sixteen keys, of which `width` are stored.
PB_INLINE void score_tile(const float *q, size_t stride, size_t rows, size_t head_width,
                          const float *tile, size_t width, float divisor, float *scores,
                          size_t scores_stride) {
  pb_lanes sum[ROWS], keys;
  for (size_t r = 0; r < ROWS; r++) pb_fill(&sum[r], 0);
  for (size_t d = 0; d < head_width; d++) {
    pb_load(&keys, tile + d * PB_LANES);
    for (size_t r = 0; r < rows; r++) sum[r] = sum[r] + q[r * stride + d] * keys;
  }
  for (size_t r = 0; r < rows; r++) {
    sum[r] = sum[r] / divisor;
    if (width == PB_LANES)
      pb_store(scores + r * scores_stride, &sum[r]);
    else
      pb_store_part(scores + r * scores_stride, &sum[r], width);
  }
}

PB_CLONES
void pb_attention_scores(const float *q, size_t stride, size_t queries, size_t start,
                         size_t head_width, const float *packed, float divisor, float *scores) {
  size_t length = start + queries;
  for (size_t i = 0; i < queries; i += ROWS) {
    size_t rows = queries - i < ROWS ? queries - i : ROWS;
    size_t seen = start + i + rows;  // keys that the last of these queries sees
    const float *block = q + i * stride;
    float *out = scores + i * length;
    for (size_t j = 0; j < seen; j += PB_LANES) {
      size_t width = length - j < PB_LANES ? length - j : PB_LANES;
      const float *tile = packed + j * head_width;
      if (rows == ROWS)
        score_tile(block, stride, ROWS, head_width, tile, width, divisor, out + j, length);
      else
        score_tile(block, stride, rows, head_width, tile, width, divisor, out + j, length);
    }
    for (size_t r = 0; r < rows; r++)
      for (size_t j = start + i + r + 1; j < length; j++) out[r * length + j] = -INFINITY;
  }
}

PB_CLONES
void pb_causal_softmax(const float *scores, size_t queries, size_t start, float *pattern) {
  size_t length = start + queries;
  for (size_t i = 0; i < queries; i++) {
    const float *in = scores + i * length;
    float *out = pattern + i * length;
    size_t seen = start + i + 1;
    size_t whole = seen - seen % PB_LANES, rest = seen % PB_LANES;
    pb_lanes v, total;
    float maximum = pb_largest(in, seen);

    // Each value is read before it is written, so scores and pattern may share their memory.
#pragma clang loop vectorize(assume_safety)
    for (size_t j = 0; j < seen; j++) out[j] = pb_exp(in[j] - maximum);
    pb_fill(&total, 0);
    for (size_t j = 0; j < whole; j += PB_LANES) {
      pb_load(&v, out + j);
      total = total + v;
    }
    if (rest) {
      pb_load_part(&v, out + whole, rest, 0);
      total = total + v;
    }
    float sum = pb_sum(&total);
    if (sum != sum) {
      for (size_t j = 0; j < length; j++) out[j] = 0;
      continue;
    }
    for (size_t j = 0; j < seen; j++) out[j] = out[j] / sum;
    for (size_t j = seen; j < length; j++) out[j] = 0;
  }
}

// z of `rows` neighbouring queries, the columns d ... d + width - 1 of the head.
PB_INLINE void mix_tile(const float *pattern, size_t columns, size_t rows, const float *values,
                        size_t values_stride, size_t count, size_t d, size_t width, float *z,
                        size_t z_stride) {
  pb_lanes sum[ROWS], value;
  for (size_t r = 0; r < rows; r++) {
    if (width == PB_LANES)
      pb_load(&sum[r], z + r * z_stride + d);
    else
      pb_load_part(&sum[r], z + r * z_stride + d, width, 0);
  }
  for (size_t j = 0; j < count; j++) {
    if (width == PB_LANES)
      pb_load(&value, values + j * values_stride + d);
    else
      pb_load_part(&value, values + j * values_stride + d, width, 0);
    for (size_t r = 0; r < rows; r++) sum[r] = sum[r] + pattern[r * columns + j] * value;
  }
  for (size_t r = 0; r < rows; r++) {
    if (width == PB_LANES)
      pb_store(z + r * z_stride + d, &sum[r]);
    else
      pb_store_part(z + r * z_stride + d, &sum[r], width);
  }
}

PB_CLONES
void pb_attention_mix(const float *pattern, size_t columns, size_t queries, size_t start,
                      const float *values, size_t values_stride, size_t first, size_t count,
                      size_t head_width, float *z, size_t z_stride) {
  for (size_t i = 0; i < queries; i += ROWS) {
    size_t rows = queries - i < ROWS ? queries - i : ROWS;
    size_t seen = start + i + rows;  // positions that the last of these queries sees
    if (seen <= first) continue;
    size_t here = seen - first < count ? seen - first : count;
    const float *weights = pattern + i * columns + first;
    float *out = z + i * z_stride;
    for (size_t d = 0; d < head_width; d += PB_LANES) {
      size_t width = head_width - d < PB_LANES ? head_width - d : PB_LANES;
      if (rows == ROWS && width == PB_LANES)
        mix_tile(weights, columns, ROWS, values, values_stride, here, d, PB_LANES, out, z_stride);
      else
        mix_tile(weights, columns, rows, values, values_stride, here, d, width, out, z_stride);
    }
  }
}
