#include <math.h>

#include "lanes.h"
#include "transformer.h"

enum { ROWS = 4 };  // queries that share one pass over the keys or values

// A call for 1 ... ROWS rows, with the number N known when it is compiled: sums then are in registers.
#define EACH_COUNT(rows, call)                 \
  switch (rows) {                              \
    case 1: { enum { N = 1 }; call; break; }   \
    case 2: { enum { N = 2 }; call; break; }   \
    case 3: { enum { N = 3 }; call; break; }   \
    case ROWS: { enum { N = ROWS }; call; }    \
  }

PB_CLONES
void pb_pack_keys(const float *keys, size_t stride, size_t count, size_t head_width, float *packed,
                  size_t first) {
  for (size_t i = 0; i < count; i++) {
    size_t position = first + i;
    float *lane = packed + position / PB_LANES * PB_LANES * head_width + position % PB_LANES;
    // Value by value: vectors that are scattered are slower.
#pragma clang loop vectorize(disable) unroll_count(8)
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
      EACH_COUNT(rows, score_tile(block, stride, N, head_width, tile, width, divisor, out + j, length))
    }
    for (size_t r = 0; r < rows; r++)
      for (size_t j = start + i + r + 1; j < length; j++) out[r * length + j] = -INFINITY;
  }
}

// exp(v - maximum), lane by lane.
PB_INLINE void exponentials(pb_lanes *v, float maximum) {
  float lanes[PB_LANES];
  pb_store(lanes, v);
#pragma clang loop vectorize(enable) unroll(disable)
  for (int i = 0; i < PB_LANES; i++) lanes[i] = pb_exp(lanes[i] - maximum);
  pb_load(v, lanes);
}

PB_CLONES
void pb_causal_softmax(const float *scores, size_t queries, size_t start, float *pattern) {
  size_t length = start + queries;
  for (size_t i = 0; i < queries; i++) {
    const float *in = scores + i * length;
    float *out = pattern + i * length;
    size_t seen = start + i + 1;
    size_t whole = seen - seen % PB_LANES, rest = seen % PB_LANES;
    // The last values stay in a register: parts of a vector in memory are slow to read as one.
    pb_lanes v, last, total;
    pb_load_part(&last, in + whole, rest, -INFINITY);
    float maximum = pb_largest_with(&last, in, whole);

    // Each value is read before it is written, so scores and pattern may share their memory.
    pb_fill(&total, 0);
    for (size_t j = 0; j < whole; j += PB_LANES) {
      pb_load(&v, in + j);
      exponentials(&v, maximum);
      pb_store(out + j, &v);
      total = total + v;
    }
    if (rest) {
      exponentials(&last, maximum);
      for (size_t l = 0; l < PB_LANES; l++) last[l] = l < rest ? last[l] : 0;
      total = total + last;
    }
    float sum = pb_sum(&total);
    if (sum != sum) {
      for (size_t j = 0; j < length; j++) out[j] = 0;
      continue;
    }
    for (size_t j = 0; j < whole; j += PB_LANES) {
      pb_load(&v, out + j);
      v = v / sum;
      pb_store(out + j, &v);
    }
    if (rest) {
      last = last / sum;
      pb_store_part(out + whole, &last, rest);
    }
    // Not in a loop of single values, which would become a call.
    size_t after = seen;
    pb_fill(&v, 0);
    for (; after + PB_LANES <= length; after += PB_LANES) pb_store(out + after, &v);
    pb_store_part(out + after, &v, length - after);
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
      if (width == PB_LANES)
        EACH_COUNT(rows, mix_tile(weights, columns, N, values, values_stride, here, d, PB_LANES, out,
                                  z_stride))
      else
        mix_tile(weights, columns, rows, values, values_stride, here, d, width, out, z_stride);
    }
  }
}
