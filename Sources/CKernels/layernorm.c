#include <math.h>

#include "lanes.h"
#include "transformer.h"

PB_CLONES
void pb_layernorm_centre(const float *x, size_t rows, size_t width, float epsilon, float *scale,
                         float *centred) {
  size_t whole = width - width % PB_LANES, rest = width % PB_LANES;
  for (size_t row = 0; row < rows; row++) {
    const float *in = x + row * width;
    float *out = centred + row * width;
    pb_lanes sum, squares, v;

    pb_fill(&sum, 0);
    for (size_t i = 0; i < whole; i += PB_LANES) {
      pb_load(&v, in + i);
      sum = sum + v;
    }
    if (rest) {
      pb_load_part(&v, in + whole, rest, 0);
      sum = sum + v;
    }
    float mean = pb_sum(&sum) / (float)width;

    pb_fill(&squares, 0);
    for (size_t i = 0; i < whole; i += PB_LANES) {
      pb_load(&v, in + i);
      v = v - mean;
      pb_store(out + i, &v);
      squares = squares + v * v;
    }
    if (rest) {
      pb_load_part(&v, in + whole, rest, mean);
      v = v - mean;
      pb_store_part(out + whole, &v, rest);
      squares = squares + v * v;
    }
    scale[row] = sqrtf(pb_sum(&squares) / (float)width + epsilon);
  }
}

void pb_layernorm(const float *x, size_t rows, size_t width, float epsilon, float *scale,
                  float *normalized) {
  for (size_t row = 0; row < rows; row++) {
    pb_layernorm_centre(x + row * width, 1, width, epsilon, scale + row, normalized + row * width);
    pb_divide_rows(normalized + row * width, scale + row, 1, width);
  }
}
