#include <math.h>

#include "lanes.h"
#include "transformer.h"

// Queries that share one pass over the keys, and over the values, at most: as many as have sums in the sixteen
// registers of AVX2. Rows are shared out evenly, since few sums wait for one another.
enum { SCORED = 6, MIXED = 3 };

// Cases of a call for some rows, with the number N known when it is compiled: sums then are in registers.
#define CASE(n, call) \
  case n: { enum { N = n }; call; break; }
#define UP_TO_3(call) CASE(1, call) CASE(2, call) CASE(3, call)
#define UP_TO_6(call) UP_TO_3(call) CASE(4, call) CASE(5, call) CASE(6, call)
_Static_assert(MIXED == 3 && SCORED == 6, "as many cases as rows");

PB_CLONES
void pb_pack_keys(const float *keys, size_t stride, size_t count, size_t head_width, float *packed,
                  size_t first) {
  for (size_t i = 0; i < count;) {
    // Four keys at a time. The last lanes of a tile are written together, even if some of their keys are there.
    size_t place = (first + i) % PB_LANES, again = place + 4 > PB_LANES ? place + 4 - PB_LANES : 0;
    if (again <= i) i -= again;
    size_t position = first + i, left = count - i;
    float *lane = packed + position / PB_LANES * PB_LANES * head_width + position % PB_LANES;
    const float *key = keys + i * stride;
    if (left == 1 || position % PB_LANES + 4 > PB_LANES) {
      // Value by value: vectors that are scattered are slower.
#pragma clang loop vectorize(disable) unroll_count(8)
      for (size_t d = 0; d < head_width; d++) lane[d * PB_LANES] = key[d];
      i++;
      continue;
    }
    // Where there are fewer than four, the last one stands for those that lack.
    const float *row[4];
    for (size_t r = 0; r < 4; r++) row[r] = key + (r < left ? r : left - 1) * stride;
    size_t d = 0;
    for (; d + 4 <= head_width; d += 4)
      pb_transpose((const float *[]){row[0] + d, row[1] + d, row[2] + d, row[3] + d},
                   lane + d * PB_LANES, PB_LANES);
    for (; d < head_width; d++)
      for (size_t r = 0; r < 4; r++) lane[d * PB_LANES + r] = row[r][d];
    i += 4;
  }
}

// Scores of `rows` queries at positions from `first` on with a tile of sixteen keys, which stand at those from
// `key` on. So many as `width` are stored.
PB_INLINE void score_tile(const float *q, size_t stride, size_t first, size_t rows,
                          size_t head_width, const float *tile, size_t key, size_t width,
                          float divisor, int has_exact_inverse, float *scores, size_t columns) {
  pb_lanes sum[SCORED], keys;
  for (size_t r = 0; r < rows; r++) pb_fill(&sum[r], 0);
  for (size_t d = 0; d < head_width; d++) {
    pb_load(&keys, tile + d * PB_LANES);
    for (size_t r = 0; r < rows; r++) sum[r] = sum[r] + q[r * stride + d] * keys;
  }
  for (size_t r = 0; r < rows; r++) {
    sum[r] = has_exact_inverse ? sum[r] * (1 / divisor) : sum[r] / divisor;
    pb_fill_from(&sum[r], first + r < key ? 0 : first + r + 1 - key, -INFINITY);
    if (width == PB_LANES)
      pb_store(scores + r * columns, &sum[r]);
    else
      pb_store_part(scores + r * columns, &sum[r], width);
  }
}

// Whether to multiply by 1 / x is to divide by it, to the last bit, and far faster.
static int is_power_of_two(float x) {
  int exponent;
  return frexpf(x, &exponent) == 0.5f && exponent > -100 && exponent < 100;
}

PB_CLONES
void pb_attention_scores(const float *q, size_t stride, size_t queries, size_t start,
                         size_t head_width, const float *packed, float divisor, float *scores,
                         size_t columns) {
  size_t length = start + queries, groups = (queries + SCORED - 1) / SCORED;
  int has_exact_inverse = is_power_of_two(divisor);
  for (size_t group = 0; group < groups; group++) {
    size_t i = pb_part(group, groups, queries), rows = pb_part(group + 1, groups, queries) - i;
    size_t first = start + i;  // position of the first of these queries
    const float *block = q + i * stride;
    float *out = scores + i * columns;
    size_t j = 0;
    for (; j < first + rows; j += PB_LANES) {
      size_t width = columns - j < PB_LANES ? length - j : PB_LANES;
      const float *tile = packed + j * head_width;
      switch (rows) {
        UP_TO_6(score_tile(block, stride, first, N, head_width, tile, j, width, divisor,
                           has_exact_inverse, out + j, columns))
      }
    }
    for (size_t r = 0; r < rows; r++)
      for (size_t later = j; later < length; later++) out[r * columns + later] = -INFINITY;
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
void pb_causal_softmax(const float *scores, size_t columns, size_t queries, size_t start,
                       float *pattern) {
  size_t length = start + queries;
  for (size_t i = 0; i < queries; i++) {
    const float *in = scores + i * columns;
    float *out = pattern + i * columns;
    size_t seen = start + i + 1;
    size_t whole = seen - seen % PB_LANES, rest = seen % PB_LANES;
    int has_room = whole + PB_LANES <= columns;  // for the rest as a whole vector
    // The last values stay in a register: parts of a vector in memory are slow to read as one.
    pb_lanes v, last, total;
    if (has_room) {
      pb_load(&last, in + whole);
      pb_fill_from(&last, rest, -INFINITY);
    } else {
      pb_load_part(&last, in + whole, rest, -INFINITY);
    }
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
      pb_fill_from(&last, rest, 0);
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
    size_t after = seen;
    if (rest) {
      last = last / sum;
      if (has_room) {
        pb_store(out + whole, &last);
        after = whole + PB_LANES;
      } else {
        pb_store_part(out + whole, &last, rest);
      }
    }
    if (after >= length) continue;
    // Not in a loop of single values, which would become a call.
    pb_fill(&v, 0);
    for (; after + PB_LANES <= length; after += PB_LANES) pb_store(out + after, &v);
    pb_store_part(out + after, &v, length - after);
  }
}

// z of `rows` neighbouring queries, `vectors` vectors of columns of the head.
PB_INLINE void mix_tile(const float *pattern, size_t columns, size_t rows, size_t vectors,
                        const float *values, size_t values_stride, size_t count, int begins,
                        float *z, size_t z_stride) {
  pb_lanes sum[MIXED][2], value[2];
  for (size_t r = 0; r < rows; r++)
    for (size_t v = 0; v < vectors; v++) {
      if (begins)
        pb_fill(&sum[r][v], 0);
      else
        pb_load(&sum[r][v], z + r * z_stride + v * PB_LANES);
    }
  for (size_t j = 0; j < count; j++) {
    for (size_t v = 0; v < vectors; v++)
      pb_load(&value[v], values + j * values_stride + v * PB_LANES);
    for (size_t r = 0; r < rows; r++)
      for (size_t v = 0; v < vectors; v++)
        sum[r][v] = sum[r][v] + pattern[r * columns + j] * value[v];
  }
  for (size_t r = 0; r < rows; r++)
    for (size_t v = 0; v < vectors; v++) pb_store(z + r * z_stride + v * PB_LANES, &sum[r][v]);
}

PB_CLONES
void pb_attention_mix(const float *pattern, size_t columns, size_t queries, size_t start,
                      const float *values, size_t values_stride, size_t first, size_t count,
                      size_t head_width, float *z, size_t z_stride) {
  int begins = first == 0;
  size_t groups = (queries + MIXED - 1) / MIXED;
  for (size_t group = 0; group < groups; group++) {
    size_t i = pb_part(group, groups, queries), rows = pb_part(group + 1, groups, queries) - i;
    size_t seen = start + i + rows;  // positions that the last of these queries sees
    if (seen <= first) continue;
    size_t here = seen - first < count ? seen - first : count;
    const float *weights = pattern + i * columns + first;
    float *out = z + i * z_stride;
    size_t d = 0;
    for (; d + 2 * PB_LANES <= head_width; d += 2 * PB_LANES)
      switch (rows) {
        UP_TO_3(mix_tile(weights, columns, N, 2, values + d, values_stride, here, begins, out + d,
                         z_stride))
      }
    for (; d + PB_LANES <= head_width; d += PB_LANES)
      switch (rows) {
        UP_TO_3(mix_tile(weights, columns, N, 1, values + d, values_stride, here, begins, out + d,
                         z_stride))
      }
    for (; d < head_width; d++)
      for (size_t r = 0; r < rows; r++) {
        float sum = begins ? 0 : out[r * z_stride + d];
        for (size_t j = 0; j < here; j++)
          sum = sum + weights[r * columns + j] * values[j * values_stride + d];
        out[r * z_stride + d] = sum;
      }
  }
}
