#ifndef PATCHBAY_BLOCKS_H
#define PATCHBAY_BLOCKS_H
#include <stddef.h>

// Blocks are eight vectors side by side, [n, 8]. All sums are in a fixed order and of fused multiply-adds:
// the same bits on every CPU.
enum { PB_BLOCK = 8 };

/// y = A x.
///   matrix: [n, n].  x, y: blocks.
void pb_multiply_block(const double *matrix, size_t n, const double *x, double *y);

/// dots = q^T w, the product of every vector of q with every one of w.
///   q, w: blocks of n.  dots: [8, 8].
void pb_block_dots(const double *q, const double *w, size_t n, double *dots);

/// w = w - q c.
///   q, w: blocks of n.  c: [8, 8].
void pb_subtract_block(const double *q, const double *c, size_t n, double *w);

#endif
