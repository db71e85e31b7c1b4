// Matrix products with weights that are packed once, in the order in which they are read.
//
// Each value of a product is the sum, in ascending order, of its fused multiply-adds over 768 inner
// values at a time; these partial sums are then added in order. So its bits depend on its own row and
// column only: not on the other rows, not on the number of threads, and not on the CPU or the width of
// panels.
#ifndef PATCHBAY_MATMUL_H
#define PATCHBAY_MATMUL_H
#include <stddef.h>

// A matrix [inner, columns] as panels of `width` columns, [inner, width] each, the last one filled
// with zeros.
typedef struct {
  const float *panels;
  size_t inner, columns, width;
} pb_packed_matrix;

// The width of panels that this CPU multiplies fastest: 32 with AVX-512, else 16. Panels of 16 can be
// multiplied everywhere, those of 32 where this is 32.
size_t pb_panel_width(void);

// Number of floats in the panels.
size_t pb_packed_count(size_t inner, size_t columns, size_t width);

// Fills the panels from a row-major matrix [inner, columns], or from one that lies transposed,
// [columns, inner], both without padding.
void pb_pack_matrix(const float *matrix, size_t inner, size_t columns, size_t width, float *panels);
void pb_pack_transposed(const float *matrix, size_t inner, size_t columns, size_t width,
                        float *panels);

// Number of floats that pb_multiply needs as scratch.
size_t pb_multiply_scratch(void);

// A part of a product: y = bias + x W for the rows first_inner ..< first_inner + inner and the columns
// first_column ..< first_column + columns of W.
//   x: `rows` rows of `inner` values, x_stride apart.  y: `rows` rows of `columns` values, y_stride
//   apart.  bias: `columns` values, or NULL for zeros.
void pb_multiply(const float *x, size_t x_stride, size_t rows, const pb_packed_matrix *w,
                 size_t first_inner, size_t inner, size_t first_column, size_t columns,
                 const float *bias, float *y, size_t y_stride, float *scratch);

#endif
