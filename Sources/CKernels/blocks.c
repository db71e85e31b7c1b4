#include "include/blocks.h"
#include "eight.h"
#include <string.h>

_Static_assert(PB_BLOCK == PB_EIGHT, "a block's row is a vector");

// As many sums at a time as keep two multipliers of AVX2 busy and fit its registers.
enum { SUMS = 4 };

PB_CLONES
void pb_multiply_block(const double *matrix, size_t n, const double *x, double *y) {
  pb_eight b;
  for (size_t i = 0; i < n; i += SUMS) {
    size_t rows = n - i < SUMS ? n - i : SUMS;
    // Rows that are not there are the last one once more.
    const double *row[SUMS];
    for (size_t r = 0; r < SUMS; r++) row[r] = matrix + (i + (r < rows ? r : rows - 1)) * n;
    pb_eight sum[SUMS] = {{0}};
    for (size_t j = 0; j < n; j++) {
      memcpy(&b, x + j * PB_BLOCK, sizeof b);
      for (size_t r = 0; r < SUMS; r++) pb_add_multiple(&sum[r], row[r][j], &b);
    }
    memcpy(y + i * PB_BLOCK, sum, rows * sizeof *sum);
  }
}

PB_CLONES
void pb_block_dots(const double *q, const double *w, size_t n, double *dots) {
  pb_eight b;
  for (size_t first = 0; first < PB_BLOCK; first += SUMS) {
    pb_eight sum[SUMS] = {{0}};
    for (size_t i = 0; i < n; i++) {
      memcpy(&b, w + i * PB_BLOCK, sizeof b);
      for (size_t r = 0; r < SUMS; r++) pb_add_multiple(&sum[r], q[i * PB_BLOCK + first + r], &b);
    }
    memcpy(dots + first * PB_BLOCK, sum, sizeof sum);
  }
}

PB_CLONES
void pb_subtract_block(const double *q, const double *c, size_t n, double *w) {
  pb_eight sum, b;
  for (size_t i = 0; i < n; i++) {
    memcpy(&sum, w + i * PB_BLOCK, sizeof sum);
    for (size_t r = 0; r < PB_BLOCK; r++) {
      memcpy(&b, c + r * PB_BLOCK, sizeof b);
      pb_add_multiple(&sum, -q[i * PB_BLOCK + r], &b);
    }
    memcpy(w + i * PB_BLOCK, &sum, sizeof sum);
  }
}
