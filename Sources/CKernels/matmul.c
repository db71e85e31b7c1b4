#include "matmul.h"

#include "lanes.h"

// The product is made in tiles of twelve rows and 32 columns, which are 24 of the 32 registers of
// AVX-512, or in quarters of that elsewhere (Goto & van de Geijn 2008, "Anatomy of High-Performance
// Matrix Multiplication"). A panel of W stays in the second-level cache while all packed rows of x
// pass by.
enum {
  COLUMNS = 32,
  TILE_ROWS = 12,
  BLOCK_ROWS = 576,   // rows of x that are packed at a time
  BLOCK_INNER = 768,  // inner values that are summed at a time; part of what a product is
  AHEAD = 24,         // rows of a panel that are fetched before their turn
};

size_t pb_packed_count(size_t inner, size_t columns) {
  return inner * ((columns + COLUMNS - 1) / COLUMNS * COLUMNS);
}

void pb_pack_matrix(const float *matrix, size_t inner, size_t columns, float *panels) {
  for (size_t j = 0; j < columns; j += COLUMNS) {
    size_t width = columns - j < COLUMNS ? columns - j : COLUMNS;
    for (size_t k = 0; k < inner; k++, panels += COLUMNS) {
      memcpy(panels, matrix + k * columns + j, width * sizeof(float));
      memset(panels + width, 0, (COLUMNS - width) * sizeof(float));
    }
  }
}

void pb_pack_transposed(const float *matrix, size_t inner, size_t columns, float *panels) {
  for (size_t j = 0; j < columns; j += COLUMNS) {
    size_t width = columns - j < COLUMNS ? columns - j : COLUMNS;
    for (size_t k = 0; k < inner; k++, panels += COLUMNS) {
      for (size_t c = 0; c < width; c++) panels[c] = matrix[(j + c) * inner + k];
      memset(panels + width, 0, (COLUMNS - width) * sizeof(float));
    }
  }
}

size_t pb_multiply_scratch(void) { return BLOCK_ROWS * BLOCK_INNER; }

// y[r, c] (+)= sum over k of a[k, r] * b[k, c], for `rows` rows and `vectors` vectors of columns.
PB_INLINE void tile(const int rows, const int vectors, const float *a, size_t a_stride,
                    const float *b, size_t inner, float *y, size_t y_stride) {
  pb_lanes sum[TILE_ROWS][2], weights[2];
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vectors; v++) {
      pb_fill(&sum[r][v], 0);
      __builtin_prefetch(y + r * y_stride + v * PB_LANES, 1);
    }
  for (size_t k = 0; k < inner; k++) {
    for (int v = 0; v < vectors; v++) {
      pb_load(&weights[v], b + k * COLUMNS + v * PB_LANES);
      __builtin_prefetch(b + (k + AHEAD) * COLUMNS + v * PB_LANES);
    }
    for (int r = 0; r < rows; r++) {
      pb_lanes x;
      pb_fill(&x, a[k * a_stride + r]);
      for (int v = 0; v < vectors; v++)
        sum[r][v] = __builtin_elementwise_fma(x, weights[v], sum[r][v]);
    }
  }
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vectors; v++) {
      pb_lanes before;
      pb_load(&before, y + r * y_stride + v * PB_LANES);
      before = before + sum[r][v];
      pb_store(y + r * y_stride + v * PB_LANES, &before);
    }
}

#define CASE(n) \
  case n: tile(n, 2, a, n, b, inner, y, y_stride); break;

#if defined(__x86_64__) && defined(__linux__)
// Named by its features: for arch=x86-64-v4 clang keeps to half registers.
__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,fma"))) static void tile_wide(
    size_t rows, const float *a, const float *b, size_t inner, float *y, size_t y_stride) {
  switch (rows) {
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)
    CASE(12)
  }
}
#endif

// Without AVX-512: six rows and one vector of columns at a time.
#undef CASE
#define CASE(n) \
  case n: tile(n, 1, a + first, rows, b + column, inner, out, y_stride); break;

#if defined(__x86_64__) && defined(__linux__)
__attribute__((target_clones("default", "arch=x86-64-v3")))
#endif
static void tile_narrow(size_t rows, const float *a, const float *b, size_t inner, float *y,
                        size_t y_stride) {
  for (size_t first = 0; first < rows; first += TILE_ROWS / 2)
    for (size_t column = 0; column < COLUMNS; column += PB_LANES) {
      float *out = y + first * y_stride + column;
      switch (rows - first < TILE_ROWS / 2 ? rows - first : TILE_ROWS / 2) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
      }
    }
}

typedef void tile_kernel(size_t, const float *, const float *, size_t, float *, size_t);

static tile_kernel *best_tile(void) {
#if defined(__x86_64__) && defined(__linux__)
  if (__builtin_cpu_supports("x86-64-v4")) return tile_wide;
#endif
  return tile_narrow;
}

// packed[k, r] = x[r, k]
PB_CLONES
static void pack_rows(const float *x, size_t x_stride, size_t rows, size_t inner, float *packed) {
  for (size_t k = 0; k < inner; k++)
    for (size_t r = 0; r < rows; r++) packed[k * rows + r] = x[r * x_stride + k];
}

// Part i of `count` things in `parts` parts of nearly equal size begins here.
PB_INLINE size_t part(size_t i, size_t parts, size_t count) { return i * count / parts; }

static void multiply(tile_kernel *kernel, const float *x, size_t x_stride, size_t rows,
                     const pb_packed_matrix *w, size_t first_inner, size_t inner,
                     size_t first_column, size_t columns, const float *bias, float *y,
                     size_t y_stride, float *scratch) {
  float edge[TILE_ROWS * COLUMNS] = {0};
  for (size_t r = 0; r < rows; r++) {
    if (bias)
      memcpy(y + r * y_stride, bias, columns * sizeof(float));
    else
      memset(y + r * y_stride, 0, columns * sizeof(float));
  }
  size_t end_column = first_column + columns;
  size_t blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
  for (size_t block = 0; block < blocks; block++) {
    size_t block_start = part(block, blocks, rows);
    size_t block_rows = part(block + 1, blocks, rows) - block_start;
    size_t tiles = (block_rows + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t k = 0; k < inner; k += BLOCK_INNER) {
      size_t depth = inner - k < BLOCK_INNER ? inner - k : BLOCK_INNER;
      float *packed = scratch;
      for (size_t t = 0; t < tiles; t++) {
        size_t start = part(t, tiles, block_rows), count = part(t + 1, tiles, block_rows) - start;
        pack_rows(x + (block_start + start) * x_stride + k, x_stride, count, depth, packed);
        packed += count * depth;
      }
      for (size_t j = first_column / COLUMNS * COLUMNS; j < end_column; j += COLUMNS) {
        const float *panel = w->panels + j * w->inner + (first_inner + k) * COLUMNS;
        size_t left = j < first_column ? first_column - j : 0;  // columns of the panel to leave out
        size_t right = end_column - j < COLUMNS ? end_column - j : COLUMNS;
        packed = scratch;
        for (size_t t = 0; t < tiles; t++) {
          size_t start = part(t, tiles, block_rows), count = part(t + 1, tiles, block_rows) - start;
          float *out = y + (block_start + start) * y_stride + (j + left - first_column);
          if (right - left == COLUMNS) {
            kernel(count, packed, panel, depth, out, y_stride);
          } else {
            for (size_t r = 0; r < count; r++)
              memcpy(edge + r * COLUMNS + left, out + r * y_stride, (right - left) * sizeof(float));
            kernel(count, packed, panel, depth, edge, COLUMNS);
            for (size_t r = 0; r < count; r++)
              memcpy(out + r * y_stride, edge + r * COLUMNS + left, (right - left) * sizeof(float));
          }
          packed += count * depth;
        }
      }
    }
  }
}

void pb_multiply(const float *x, size_t x_stride, size_t rows, const pb_packed_matrix *w,
                 size_t first_inner, size_t inner, size_t first_column, size_t columns,
                 const float *bias, float *y, size_t y_stride, float *scratch) {
  multiply(best_tile(), x, x_stride, rows, w, first_inner, inner, first_column, columns, bias, y,
           y_stride, scratch);
}

void pb_multiply_narrow(const float *x, size_t x_stride, size_t rows, const pb_packed_matrix *w,
                        size_t first_inner, size_t inner, size_t first_column, size_t columns,
                        const float *bias, float *y, size_t y_stride, float *scratch) {
  multiply(tile_narrow, x, x_stride, rows, w, first_inner, inner, first_column, columns, bias, y,
           y_stride, scratch);
}
