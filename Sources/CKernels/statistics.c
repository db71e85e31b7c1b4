// Sums over values in double precision: sixteen lanes, halved at the end.
#include "statistics.h"

#include <math.h>

#include "eight.h"
#include "lanes.h"

typedef double pb_doubles __attribute__((vector_size(128)));
typedef int32_t pb_ints __attribute__((vector_size(64)));

PB_REDUCTION(pb_sum_doubles, pb_doubles, double, a + b)

PB_CLONES
double pb_dot(const float *a, const float *b, size_t count) {
  pb_doubles sum = {0};
  pb_lanes x, y;
  size_t i = 0;
  for (; i + PB_LANES <= count; i += PB_LANES) {
    pb_load(&x, a + i);
    pb_load(&y, b + i);
    sum += __builtin_convertvector(x, pb_doubles) * __builtin_convertvector(y, pb_doubles);
  }
  double rest = 0;
  for (; i < count; i++) rest += (double)a[i] * (double)b[i];
  return pb_sum_doubles(&sum) + rest;
}

// Lanes of a comparison are -1 where it holds.
PB_INLINE size_t pb_count(const pb_ints *held) {
  int64_t sum = 0;
  for (int i = 0; i < PB_LANES; i++) sum -= (*held)[i];
  return (size_t)sum;
}

PB_INLINE void pb_bits(pb_ints *bits, const pb_lanes *v) { memcpy(bits, v, sizeof *bits); }

// -1 where a value is finite.
PB_INLINE void pb_finite(pb_ints *finite, const pb_ints *bits) {
  *finite = (*bits & 0x7FFFFFFF) < 0x7F800000;
}

// `v` where `chosen`, `other` elsewhere.
PB_INLINE void pb_select(pb_lanes *result, const pb_ints *chosen, const pb_lanes *v, float other) {
  pb_lanes filler;
  pb_ints a, b;
  pb_fill(&filler, other);
  pb_bits(&a, v);
  pb_bits(&b, &filler);
  a = (a & *chosen) | (b & ~*chosen);
  memcpy(result, &a, sizeof a);
}

typedef struct {
  pb_doubles sum, squares;
  pb_lanes minimum, maximum;
  pb_ints finite, zeros, nan, positive, negative;
} pb_state;

PB_INLINE void pb_add_lanes(pb_state *s, const pb_lanes *v) {
  pb_ints bits, finite, held;
  pb_lanes x;
  pb_bits(&bits, v);
  pb_finite(&finite, &bits);
  s->finite += finite;
  s->zeros += (bits & 0x7FFFFFFF) == 0;
  s->nan += (bits & 0x7FFFFFFF) > 0x7F800000;
  s->positive += bits == 0x7F800000;
  s->negative += bits == (int32_t)0xFF800000;

  pb_select(&x, &finite, v, INFINITY);
  held = x < s->minimum;
  s->minimum = (pb_lanes)(((pb_ints)x & held) | ((pb_ints)s->minimum & ~held));
  pb_select(&x, &finite, v, -INFINITY);
  held = x > s->maximum;
  s->maximum = (pb_lanes)(((pb_ints)x & held) | ((pb_ints)s->maximum & ~held));

  pb_select(&x, &finite, v, 0);
  pb_doubles wide = __builtin_convertvector(x, pb_doubles);
  s->sum = s->sum + wide;
  s->squares = s->squares + wide * wide;
}

PB_CLONES
void pb_sum_values(const float *values, size_t count, pb_value_sums *result) {
  size_t whole = count - count % PB_LANES, rest = count % PB_LANES;
  pb_lanes v;
  pb_state s;
  memset(&s, 0, sizeof s);
  pb_fill(&s.minimum, INFINITY);
  pb_fill(&s.maximum, -INFINITY);
  for (size_t i = 0; i < whole; i += PB_LANES) {
    pb_load(&v, values + i);
    pb_add_lanes(&s, &v);
  }
  if (rest) {
    pb_load_part(&v, values + whole, rest, NAN);
    pb_add_lanes(&s, &v);
  }
  result->finite = pb_count(&s.finite);
  result->sum = pb_sum_doubles(&s.sum);
  result->squares = pb_sum_doubles(&s.squares);
  result->minimum = INFINITY;
  result->maximum = -INFINITY;
  for (int i = 0; i < PB_LANES; i++) {
    if (s.minimum[i] < result->minimum) result->minimum = s.minimum[i];
    if (s.maximum[i] > result->maximum) result->maximum = s.maximum[i];
  }
  result->zeros = pb_count(&s.zeros);
  result->nan = pb_count(&s.nan) - (rest ? PB_LANES - rest : 0);
  result->positive_infinity = pb_count(&s.positive);
  result->negative_infinity = pb_count(&s.negative);
}

PB_INLINE void pb_add_deviations(pb_doubles *squares, const pb_lanes *v, double mean) {
  pb_ints bits, finite;
  pb_lanes x;
  pb_bits(&bits, v);
  pb_finite(&finite, &bits);
  pb_select(&x, &finite, v, 0);
  pb_doubles d = __builtin_convertvector(x, pb_doubles) - mean;
  // What is not finite must not count as -mean.
  typedef int64_t pb_longs __attribute__((vector_size(128)));
  pb_longs keep = __builtin_convertvector(finite, pb_longs);
  d = (pb_doubles)((pb_longs)d & keep);
  *squares = *squares + d * d;
}

PB_CLONES
double pb_squared_deviations(const float *values, size_t count, double mean) {
  size_t whole = count - count % PB_LANES, rest = count % PB_LANES;
  pb_lanes v;
  pb_doubles squares;
  memset(&squares, 0, sizeof squares);
  for (size_t i = 0; i < whole; i += PB_LANES) {
    pb_load(&v, values + i);
    pb_add_deviations(&squares, &v, mean);
  }
  if (rest) {
    pb_load_part(&v, values + whole, rest, NAN);
    pb_add_deviations(&squares, &v, mean);
  }
  return pb_sum_doubles(&squares);
}

PB_CLONES
double pb_log_sum_exp(const float *values, size_t count) {
  enum { BLOCK = 1024 };
  float powers[BLOCK];
  pb_lanes v;
  float maximum = pb_largest(values, count);
  double total = 0;
  for (size_t start = 0; start < count; start += BLOCK) {
    size_t length = count - start < BLOCK ? count - start : BLOCK;
    const float *in = values + start;
    for (size_t j = 0; j < length; j++) powers[j] = pb_exp(in[j] - maximum);
    for (size_t j = length; j < (length + PB_LANES - 1) / PB_LANES * PB_LANES; j++) powers[j] = 0;
    pb_lanes sum;
    pb_fill(&sum, 0);
    for (size_t j = 0; j < length; j += PB_LANES) {
      pb_load(&v, powers + j);
      sum = sum + v;
    }
    total += pb_sum(&sum);
  }
  return (double)maximum + log(total);
}

// A panel's columns are a line of the cache.
enum { PANEL = PB_EIGHT };

size_t pb_products_scratch(size_t rows, size_t width) {
  return (width + PANEL - 1) / PANEL * PANEL * rows;
}

// Columns eight by eight, [rows, 8] each, the last ones filled with zeros: what is read together lies
// together.
static void pack_columns(const double *x, size_t rows, size_t width, double *panels) {
  for (size_t first = 0; first < width; first += PANEL)
    for (size_t k = 0; k < rows; k++, panels += PANEL) {
      size_t count = width - first < PANEL ? width - first : PANEL;
      memset(panels, 0, PANEL * sizeof *panels);
      memcpy(panels, x + k * width + first, count * sizeof *panels);
    }
}

// The sums of a tile are as many registers as it takes to keep two multipliers busy.
PB_INLINE void add_products(size_t tile_rows, const double *panels, size_t rows, size_t width,
                            double *sums) {
  for (size_t j = 0; j < width; j += PANEL) {
    const double *right = panels + j * rows;
    size_t columns = width - j < PANEL ? width - j : PANEL;
    // Up to the diagonal, and as far over it as a tile reaches.
    for (size_t i = 0; i < j + columns; i += tile_rows) {
      const double *left = panels + i / PANEL * PANEL * rows + i % PANEL;
      pb_eight sum[PANEL] = {{0}};
      for (size_t k = 0; k < rows; k++) {
        pb_eight b;
        memcpy(&b, right + k * PANEL, sizeof b);
        for (size_t r = 0; r < tile_rows; r++) pb_add_multiple(&sum[r], left[k * PANEL + r], &b);
      }
      for (size_t r = 0; r < tile_rows && i + r < width; r++)
        for (size_t c = 0; c < columns; c++) sums[(i + r) * width + j + c] += sum[r][c];
    }
  }
}

PB_CLONES
static void add_products_4(const double *panels, size_t rows, size_t width, double *sums) {
  add_products(4, panels, rows, width, sums);
}

#if defined(__x86_64__) && defined(__linux__)
__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,fma"))) static void add_products_8(
    const double *panels, size_t rows, size_t width, double *sums) {
  add_products(8, panels, rows, width, sums);
}

size_t pb_products_tile_rows(void) { return __builtin_cpu_supports("x86-64-v4") ? 8 : 4; }
#else
#define add_products_8 add_products_4
size_t pb_products_tile_rows(void) { return 4; }
#endif

void pb_add_products(const double *x, size_t rows, size_t width, size_t tile_rows, double *sums,
                     double *scratch) {
  pack_columns(x, rows, width, scratch);
  (tile_rows == 8 ? add_products_8 : add_products_4)(scratch, rows, width, sums);
}
