#ifndef PATCHBAY_STATISTICS_H
#define PATCHBAY_STATISTICS_H
#include <stddef.h>

/// The sum of a[i] * b[i] in double precision, in a fixed order: the same bits on every CPU.
double pb_dot(const float *a, const float *b, size_t count);

/// What a run of values adds up to.
typedef struct {
  /// Of the finite values: how many, their sum and the sum of their squares, smallest and largest
  /// (infinity and minus infinity where there is none).
  size_t finite;
  double sum, squares;
  float minimum, maximum;
  size_t zeros, nan, positive_infinity, negative_infinity;
} pb_value_sums;

/// Adds up `count` values, at most 2^34, in a fixed order: the same bits on every CPU.
void pb_sum_values(const float *values, size_t count, pb_value_sums *result);

/// The sum of (x - mean)^2 over the finite values, in a fixed order.
double pb_squared_deviations(const float *values, size_t count, double mean);

/// Number of doubles that `pb_add_products` needs as scratch.
size_t pb_products_scratch(size_t rows, size_t width);

/// Adds the sum over the rows k of x[k, i] * x[k, j] to sums[i, j] for i <= j; what else `sums` has may be
/// changed too. The same bits on every CPU: terms are added in the rows' order, each by a fused
/// multiply-add, and then to the sum that was there.
///   x: [rows, width].  sums: [width, width].
///   tile_rows: 4, or what `pb_products_tile_rows` gives. The bits do not depend on it.
void pb_add_products(const double *x, size_t rows, size_t width, size_t tile_rows, double *sums,
                     double *scratch);

/// The rows of a tile that is fastest on this CPU, 4 or 8.
size_t pb_products_tile_rows(void);

/// ln of the sum of exp(x) over `count` values, at least one, in a fixed order; not a number if a value
/// is none or the largest one is infinite. Its error is about 1e-6.
double pb_log_sum_exp(const float *values, size_t count);

#endif
