// Sixteen floats at a time, the same on every instruction set.
#ifndef PATCHBAY_LANES_H
#define PATCHBAY_LANES_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "clones.h"

#pragma clang fp contract(off)

enum { PB_LANES = 16 };
typedef float pb_lanes __attribute__((vector_size(64), aligned(4)));

// Helpers take vectors by pointer: passed by value, their calling convention would differ between
// the clones of a kernel.
PB_INLINE void pb_load(pb_lanes *v, const float *p) { memcpy(v, p, sizeof *v); }
PB_INLINE void pb_store(float *p, const pb_lanes *v) { memcpy(p, v, sizeof *v); }

PB_INLINE void pb_fill(pb_lanes *v, float value) {
  for (int i = 0; i < PB_LANES; i++) (*v)[i] = value;
}

// Copies fewer than sixteen floats without calling memcpy.
PB_INLINE void pb_copy_part(float *to, const float *from, size_t count) {
#pragma unroll
  for (size_t size = PB_LANES / 2; size > 0; size /= 2)
    if (count & size) {
      memcpy(to, from, size * sizeof(float));
      to += size;
      from += size;
    }
}

// The first `count` lanes from memory, fewer than all; the rest `filler`.
PB_INLINE void pb_load_part(pb_lanes *v, const float *p, size_t count, float filler) {
  float part[PB_LANES];
  for (int i = 0; i < PB_LANES; i++) part[i] = filler;
  pb_copy_part(part, p, count);
  pb_load(v, part);
}

PB_INLINE void pb_store_part(float *p, const pb_lanes *v, size_t count) {
  float part[PB_LANES];
  pb_store(part, v);
  pb_copy_part(p, part, count);
}

// Lanes from `count` on become `filler`.
PB_INLINE void pb_fill_from(pb_lanes *v, size_t count, float filler) {
  typedef int32_t ints __attribute__((vector_size(64), aligned(4)));
  const ints index = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  pb_lanes others;
  pb_fill(&others, filler);
  ints kept = index < (int32_t)(count < PB_LANES ? count : PB_LANES);
  *v = (pb_lanes)((kept & (ints)*v) | (~kept & (ints)others));
}

// out[i * stride + r] = rows[r][i] for i, r < 4.
PB_INLINE void pb_transpose(const float *const rows[4], float *out, size_t stride) {
  typedef float quad __attribute__((vector_size(16)));
  quad in[4], low[2], high[2];
  for (int i = 0; i < 4; i++) memcpy(&in[i], rows[i], sizeof in[i]);
  for (int i = 0; i < 2; i++) {  // of two rows, the first two values and the last two
    low[i] = __builtin_shufflevector(in[2 * i], in[2 * i + 1], 0, 4, 1, 5);
    high[i] = __builtin_shufflevector(in[2 * i], in[2 * i + 1], 2, 6, 3, 7);
  }
  const quad columns[4] = {__builtin_shufflevector(low[0], low[1], 0, 1, 4, 5),
                           __builtin_shufflevector(low[0], low[1], 2, 3, 6, 7),
                           __builtin_shufflevector(high[0], high[1], 0, 1, 4, 5),
                           __builtin_shufflevector(high[0], high[1], 2, 3, 6, 7)};
  for (int i = 0; i < 4; i++) memcpy(out + i * stride, &columns[i], sizeof columns[i]);
}

// Part i of `count` things in `parts` parts of nearly equal size begins here.
PB_INLINE size_t pb_part(size_t i, size_t parts, size_t count) { return i * count / parts; }

// Defines a function that makes one number of sixteen, a half of them joined to the other until one
// is left; `joined` is what becomes of `a` and `b`.
#define PB_REDUCTION(name, vector, number, joined)        \
  PB_INLINE number name(const vector *v) {                \
    number t[PB_LANES];                                   \
    memcpy(t, v, sizeof t);                               \
    for (int half = PB_LANES / 2; half > 0; half /= 2) {  \
      for (int i = 0; i < half; i++) {                    \
        number a = t[i], b = t[i + half];                 \
        t[i] = joined;                                    \
      }                                                   \
    }                                                     \
    return t[0];                                          \
  }

PB_REDUCTION(pb_sum, pb_lanes, float, a + b)
PB_REDUCTION(pb_max, pb_lanes, float, a > b ? a : b)

// The largest of `last` and of `whole` values, a multiple of sixteen. NaN are passed over where others stand
// beside them.
PB_INLINE float pb_largest_with(const pb_lanes *last, const float *values, size_t whole) {
  pb_lanes v, top = *last;
  for (size_t i = 0; i < whole; i += PB_LANES) {
    pb_load(&v, values + i);
    top = __builtin_elementwise_max(top, v);
  }
  return pb_max(&top);
}

// The largest of some values; -infinity of none.
PB_INLINE float pb_largest(const float *values, size_t count) {
  size_t whole = count - count % PB_LANES;
  pb_lanes last;
  pb_load_part(&last, values + whole, count - whole, -__builtin_inff());
  return pb_largest_with(&last, values, whole);
}

// exp(x) within about one unit in the last place: x = n ln 2 + r with |r| <= ln 2 / 2, Taylor's
// polynomial of degree 7 in r, n added to the exponent. Below -87.3, where float32 runs out of
// normal numbers, the result is zero; above 88.3, near its largest, infinity; a NaN stays one.
PB_INLINE float pb_exp(float x) {
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer
  float clamped = x < -87.3f ? -87.3f : x;
  clamped = clamped > 88.3f ? 88.3f : clamped;
  float shifted = clamped * 1.44269504088896341f + magic;
  float n = shifted - magic;
  float r = clamped - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  uint32_t bits, exponent;
  memcpy(&exponent, &shifted, 4);
  memcpy(&bits, &p, 4);
  bits += exponent << 23;
  memcpy(&p, &bits, 4);
  p = x < -87.3f ? 0.0f : p;
  p = x > 88.3f ? __builtin_inff() : p;
  return x != x ? x : p;
}

#endif
