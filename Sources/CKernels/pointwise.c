#include "lanes.h"
#include "transformer.h"

// Input and output of these kernels are the same memory or do not overlap, which the loops are told:
// otherwise a call in place would run unvectorised.

PB_CLONES
void pb_gelu_new(const float *x, float *y, size_t count) {
  const float root = 0.797884560802865f;  // sqrt(2 / pi)
  // Four vectors side by side, or each step would wait for the one before.
#pragma clang loop vectorize(assume_safety) interleave_count(4)
  for (size_t i = 0; i < count; i++) {
    float v = x[i];
    float u = root * (v + 0.044715f * (v * v * v));
    y[i] = v / (1.0f + pb_exp(-2.0f * u));
  }
}

PB_CLONES
void pb_add(const float *a, const float *b, float *out, size_t count) {
#pragma clang loop vectorize(assume_safety)
  for (size_t i = 0; i < count; i++) out[i] = a[i] + b[i];
}

PB_CLONES
void pb_divide_rows(float *x, const float *divisors, size_t rows, size_t width) {
  for (size_t row = 0; row < rows; row++) {
    float *values = x + row * width;
    float divisor = divisors[row];
    for (size_t i = 0; i < width; i++) values[i] = values[i] / divisor;
  }
}

PB_CLONES
void pb_scale_shift(const float *x, const float *weight, const float *bias, size_t rows,
                    size_t width, float *y) {
  for (size_t row = 0; row < rows; row++)
#pragma clang loop vectorize(assume_safety)
    for (size_t i = 0; i < width; i++)
      y[row * width + i] = x[row * width + i] * weight[i] + bias[i];
}
