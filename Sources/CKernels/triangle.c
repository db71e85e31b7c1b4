// Square matrices without what stands above their diagonals.

#include "storage.h"
#include <string.h>

#include "clones.h"

// Whether `count` elements all have the bits of `fill`: the first does, and each the next one's.
static int all_equal(const uint8_t *elements, size_t count, size_t size, const void *fill) {
  return count == 0 || (memcmp(elements, fill, size) == 0 &&
                        memcmp(elements, elements + size, (count - 1) * size) == 0);
}

int triangle_fill(const void *source, size_t matrices, size_t side, size_t size, uint32_t *fill) {
  const uint8_t *rows = source;
  *fill = 0;
  if (side < 2 || matrices == 0) return 1;
  memcpy(fill, rows + size, size);
  for (size_t row = 0; row < matrices * side; row++, rows += side * size) {
    size_t kept = row % side + 1;
    if (!all_equal(rows + kept * size, side - kept, size, fill)) return 0;
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

PB_CLONES
void unpack_triangle(const void *source, void *destination, size_t matrices, size_t side, size_t size,
                     uint32_t fill) {
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
