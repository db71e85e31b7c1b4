#include "matmul.h"

#include "lanes.h"

// The product is made in tiles (Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix
// Multiplication"): of twelve rows and 32 columns with AVX-512, which are 24 of its 32 registers, and of
// six rows and 16 columns elsewhere, 12 of AVX2's 16. A panel of W stays in the second-level cache
// while all packed rows of x pass by.
enum {
  WIDE = 32,
  WIDE_ROWS = 12,
  NARROW = PB_LANES,
  NARROW_ROWS = 6,
  BLOCK_ROWS = 144,   // rows of x that are packed at a time, whole tiles of either kind
  BLOCK_INNER = 768,  // inner values that are summed at a time; part of what a product is
  AHEAD = 768,        // values of a panel between one that is used and one that is fetched
  STRIDE = 8,         // inner values between which lines of the next panel are fetched
  LINE = 64,          // bytes of a line of the cache
};

size_t pb_packed_count(size_t inner, size_t columns, size_t width) {
  return inner * ((columns + width - 1) / width * width);
}

void pb_pack_matrix(const float *matrix, size_t inner, size_t columns, size_t width, float *panels) {
  for (size_t j = 0; j < columns; j += width) {
    size_t count = columns - j < width ? columns - j : width;
    for (size_t k = 0; k < inner; k++, panels += width) {
      memcpy(panels, matrix + k * columns + j, count * sizeof(float));
      memset(panels + count, 0, (width - count) * sizeof(float));
    }
  }
}

void pb_pack_transposed(const float *matrix, size_t inner, size_t columns, size_t width,
                        float *panels) {
  for (size_t j = 0; j < columns; j += width) {
    size_t count = columns - j < width ? columns - j : width;
    for (size_t k = 0; k < inner; k++, panels += width) {
      for (size_t c = 0; c < count; c++) panels[c] = matrix[(j + c) * inner + k];
      memset(panels + count, 0, (width - count) * sizeof(float));
    }
  }
}

size_t pb_multiply_scratch(void) { return BLOCK_ROWS * BLOCK_INNER; }

// What sums are added to: rows of a tile's width, `stride` apart, or one for all where that is 0. It and what
// is fetched are given by address: as values they would be put on the stack in halves and read whole, which a
// core cannot do before both have reached its cache.
typedef struct {
  const float *first;
  size_t stride;
} addends;

// A part of the panel that comes next, which is fetched into the second-level cache meanwhile: `lines` of it
// for every STRIDE inner values. Weights come from memory where there are more of them than a cache holds;
// to wait for a panel costs as much as one more tile of it.
typedef struct {
  const char *first;
  size_t lines;
} prefetch;

// y[r, c] = start[r, c] + sum over k of a[k, r] * b[k, c], for `rows` of a tile's `tile_rows` rows and for
// `vectors` vectors of columns.
//
// Two of three values of a are read once for each vector of columns: AVX-512 multiplies by a value from
// memory in one instruction, and so the 24 products of a step take 36 in place of 43. This counts where the
// core's other thread takes half of what can be decoded, as neighbours on shared machines do. The third is
// left to a broadcast, since a core reads twice a cycle and no more.
PB_INLINE void tile(const int rows, const int tile_rows, const int vectors, const float *a,
                    const float *b, size_t inner, const addends *start, const prefetch *next, float *y,
                    size_t y_stride) {
  const int width = vectors * PB_LANES;
  pb_lanes sum[WIDE_ROWS][2], weights[2];
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vectors; v++) {
      pb_fill(&sum[r][v], 0);
      __builtin_prefetch(y + r * y_stride + v * PB_LANES, 1);
    }
  const char *wanted = next->first;
  const size_t lines = next->lines;
  for (size_t k = 0; k < inner;) {
    for (size_t l = 0; l < lines; l++, wanted += LINE) __builtin_prefetch(wanted, 0, 2);
    for (size_t end = inner - k < STRIDE ? inner : k + STRIDE; k < end; k++, a += tile_rows) {
      const float *again = a;
      __asm__("" : "+r"(again));  // or the compiler would make one load of two
      for (int v = 0; v < vectors; v++) {
        pb_load(&weights[v], b + k * width + v * PB_LANES);
        __builtin_prefetch(b + k * width + v * PB_LANES + AHEAD);
      }
      for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) {
          pb_lanes x;
          pb_fill(&x, v > 0 && r % 3 < 2 ? again[r] : a[r]);
          sum[r][v] = __builtin_elementwise_fma(x, weights[v], sum[r][v]);
        }
    }
  }
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vectors; v++) {
      pb_lanes all;
      pb_load(&all, start->first + r * start->stride + v * PB_LANES);
      all = all + sum[r][v];
      pb_store(y + r * y_stride + v * PB_LANES, &all);
    }
}

#if defined(__x86_64__) && defined(__linux__)
#define CASE(n) \
  case n: tile(n, WIDE_ROWS, 2, a, b, inner, start, next, y, y_stride); break;

// Named by its features: for arch=x86-64-v4 clang keeps to half registers.
__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,fma"))) static void tile_wide(
    size_t rows, const float *a, const float *b, size_t inner, const addends *start, const prefetch *next,
    float *y, size_t y_stride) {
  switch (rows) {
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)
    CASE(12)
  }
}

// packed[k, r] = x[r, k]. Where there are fewer than twelve rows, the last one stands for those that lack.
PB_CLONES
static void pack_wide(const float *x, size_t x_stride, size_t rows, size_t inner, float *packed) {
  const float *row[WIDE_ROWS];
  for (size_t r = 0; r < WIDE_ROWS; r++) row[r] = x + (r < rows ? r : rows - 1) * x_stride;
  size_t k = 0;
  for (; k + 4 <= inner; k += 4, packed += 4 * WIDE_ROWS)
    for (int r = 0; r < WIDE_ROWS; r += 4)
      pb_transpose((const float *[]){row[r] + k, row[r + 1] + k, row[r + 2] + k, row[r + 3] + k},
                   packed + r, WIDE_ROWS);
  for (; k < inner; k++)
    for (int r = 0; r < WIDE_ROWS; r++) *packed++ = row[r][k];
}
#undef CASE
#endif

#define CASE(n) \
  case n: tile(n, NARROW_ROWS, 1, a, b, inner, start, next, y, y_stride); break;

#if defined(__x86_64__) && defined(__linux__)
__attribute__((target_clones("default", "arch=x86-64-v3")))
#endif
static void tile_narrow(size_t rows, const float *a, const float *b, size_t inner, const addends *start,
                        const prefetch *next, float *y, size_t y_stride) {
  switch (rows) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) }
}

typedef float eight __attribute__((vector_size(32)));
typedef double four __attribute__((vector_size(32)));  // of pairs of floats

PB_INLINE void load_eight(eight *v, const float *p) { memcpy(v, p, sizeof *v); }

// packed[k, r] = x[r, k]. Where there are fewer than six rows, the last one stands for those that lack.
#if defined(__x86_64__) && defined(__linux__)
__attribute__((target_clones("default", "arch=x86-64-v3")))
#endif
static void pack_narrow(const float *x, size_t x_stride, size_t rows, size_t inner, float *packed) {
  const float *row[NARROW_ROWS];
  for (size_t r = 0; r < NARROW_ROWS; r++) row[r] = x + (r < rows ? r : rows - 1) * x_stride;
  size_t k = 0;
  for (; k + 8 <= inner; k += 8, packed += 8 * NARROW_ROWS) {
    // Values of two rows side by side, in pairs [k, row]: the first ones have k = 0, 1, 4, 5, the second
    // ones k = 2, 3, 6, 7.
    four first[3], second[3];
    for (int i = 0; i < 3; i++) {
      eight a, b;
      load_eight(&a, row[2 * i] + k);
      load_eight(&b, row[2 * i + 1] + k);
      first[i] = (four)__builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
      second[i] = (four)__builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
    }
    // The pairs of a k one behind the other, k = 0, 1 and 4, 5 in the halves of three vectors, then
    // k = 2, 3 and 6, 7.
    four joined[6];
    for (int i = 0; i < 2; i++) {
      const four *part = i == 0 ? first : second;
      joined[3 * i] = __builtin_shufflevector(part[0], part[1], 0, 4, 2, 6);
      joined[3 * i + 1] = __builtin_shufflevector(part[2], part[0], 0, 5, 2, 7);
      joined[3 * i + 2] = __builtin_shufflevector(part[1], part[2], 1, 5, 3, 7);
    }
    four out[6];
    for (int i = 0; i < 3; i++) {
      out[i] = __builtin_shufflevector(joined[2 * i], joined[2 * i + 1], 0, 1, 4, 5);
      out[i + 3] = __builtin_shufflevector(joined[2 * i], joined[2 * i + 1], 2, 3, 6, 7);
    }
    memcpy(packed, out, sizeof out);
  }
  for (; k < inner; k++)
    for (int r = 0; r < NARROW_ROWS; r++) *packed++ = row[r][k];
}

// What multiplies panels of one width.
typedef struct {
  size_t width, rows;  // of a tile
  // [rows of a tile, inner] -> [inner, rows of a tile]
  void (*pack)(const float *x, size_t x_stride, size_t rows, size_t inner, float *packed);
  void (*multiply)(size_t rows, const float *a, const float *b, size_t inner, const addends *start,
                   const prefetch *next, float *y, size_t y_stride);
} kernel;

static const kernel narrow = {NARROW, NARROW_ROWS, pack_narrow, tile_narrow};

#if defined(__x86_64__) && defined(__linux__)
static const kernel wide = {WIDE, WIDE_ROWS, pack_wide, tile_wide};

size_t pb_panel_width(void) { return __builtin_cpu_supports("x86-64-v4") ? WIDE : NARROW; }
static const kernel *kernel_of(size_t width) { return width == WIDE ? &wide : &narrow; }
#else
size_t pb_panel_width(void) { return NARROW; }
static const kernel *kernel_of(size_t width) { return &narrow; }
#endif

void pb_multiply(const float *x, size_t x_stride, size_t rows, const pb_packed_matrix *w,
                 size_t first_inner, size_t inner, size_t first_column, size_t columns,
                 const float *bias, float *y, size_t y_stride, float *scratch) {
  const kernel *kernel = kernel_of(w->width);
  size_t width = kernel->width;
  static const float zeros[WIDE];
  float edge[WIDE_ROWS * WIDE] = {0};
  size_t end_column = first_column + columns;
  size_t blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
  for (size_t block = 0; block < blocks; block++) {
    size_t block_start = pb_part(block, blocks, rows);
    size_t block_rows = pb_part(block + 1, blocks, rows) - block_start;
    size_t tiles = (block_rows + kernel->rows - 1) / kernel->rows;
    size_t k = 0;
    do {  // once where there is nothing to sum: the bias remains
      size_t depth = inner - k < BLOCK_INNER ? inner - k : BLOCK_INNER;
      for (size_t t = 0; t < tiles; t++) {
        size_t start = pb_part(t, tiles, block_rows);
        size_t count = pb_part(t + 1, tiles, block_rows) - start;
        kernel->pack(x + (block_start + start) * x_stride + k, x_stride, count, depth,
                     scratch + t * kernel->rows * depth);
      }
      size_t strides = (depth + STRIDE - 1) / STRIDE, all = width * depth * sizeof(float) / LINE;
      size_t lines = all > 0 ? (all - 1) / (strides * tiles) + 1 : 0;
      for (size_t j = first_column / width * width; j < end_column; j += width) {
        const float *panel = w->panels + j * w->inner + (first_inner + k) * width;
        size_t wanted = j + width < end_column ? all : 0;  // lines of the next panel
        size_t left = j < first_column ? first_column - j : 0;  // columns of the panel to leave out
        size_t right = end_column - j < width ? end_column - j : width;
        size_t column = j + left - first_column;
        for (size_t t = 0; t < tiles; t++) {
          size_t start = pb_part(t, tiles, block_rows);
          size_t count = pb_part(t + 1, tiles, block_rows) - start;
          const float *packed = scratch + t * kernel->rows * depth;
          size_t fetched = t * strides * lines;
          prefetch next = {(const char *)(panel + width * w->inner) + fetched * LINE,
                           fetched < wanted ? lines : 0};
          float *out = y + (block_start + start) * y_stride + column;
          addends before = k > 0  ? (addends){out, y_stride}
                           : bias ? (addends){bias + column, 0}
                                  : (addends){zeros, 0};
          if (right - left == width) {
            kernel->multiply(count, packed, panel, depth, &before, &next, out, y_stride);
          } else {
            for (size_t r = 0; r < count; r++)
              memcpy(edge + r * width + left, before.first + r * before.stride,
                     (right - left) * sizeof(float));
            before = (addends){edge, width};
            kernel->multiply(count, packed, panel, depth, &before, &next, edge, width);
            for (size_t r = 0; r < count; r++)
              memcpy(out + r * y_stride, edge + r * width + left, (right - left) * sizeof(float));
          }
        }
      }
      k += BLOCK_INNER;
    } while (k < inner);
  }
}
