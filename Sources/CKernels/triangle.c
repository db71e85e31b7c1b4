// Square matrices without what stands above their diagonals.

#include "storage.h"
#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
#define CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define CLONES
#endif

// Whether `count` elements all have the bits `fill`.
static inline int all_equal4(const uint8_t *elements, size_t count, uint32_t fill) {
  uint32_t difference = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t u;
    memcpy(&u, elements + 4 * i, 4);
    difference |= u ^ fill;
  }
  return difference == 0;
}
static inline int all_equal2(const uint8_t *elements, size_t count, uint16_t fill) {
  uint16_t difference = 0;
  for (size_t i = 0; i < count; i++) {
    uint16_t u;
    memcpy(&u, elements + 2 * i, 2);
    difference |= u ^ fill;
  }
  return difference == 0;
}

CLONES int triangle_fill(const void *source, size_t matrices, size_t side, size_t size,
                         uint32_t *fill) {
  const uint8_t *rows = source;
  *fill = 0;
  if (side < 2 || matrices == 0) return 1;
  memcpy(fill, rows + size, size);
  for (size_t row = 0; row < matrices * side; row++, rows += side * size) {
    size_t kept = row % side + 1;
    const uint8_t *above = rows + kept * size;
    if (size == 4 ? !all_equal4(above, side - kept, *fill)
                  : !all_equal2(above, side - kept, (uint16_t)*fill))
      return 0;
  }
  return 1;
}

void pack_triangle(const void *source, void *destination, size_t matrices, size_t side,
                   size_t size) {
  const uint8_t *rows = source;
  uint8_t *packed = destination;
  for (size_t row = 0; row < matrices * side; row++, rows += side * size) {
    size_t kept = (row % side + 1) * size;
    memcpy(packed, rows, kept);
    packed += kept;
  }
}

CLONES void unpack_triangle(const void *source, void *destination, size_t matrices, size_t side,
                            size_t size, uint32_t fill) {
  const uint8_t *packed = source;
  uint8_t *rows = destination;
  for (size_t row = 0; row < matrices * side; row++, rows += side * size) {
    size_t kept = row % side + 1;
    memcpy(rows, packed, kept * size);
    packed += kept * size;
    if (size == 4) {
      for (size_t i = kept; i < side; i++) memcpy(rows + 4 * i, &fill, 4);
    } else {
      uint16_t half = (uint16_t)fill;
      for (size_t i = kept; i < side; i++) memcpy(rows + 2 * i, &half, 2);
    }
  }
}
