// The filters that make activations compressible: bytes, or bits, of the same weight laid together.
//
// The bit filter takes 256 elements at a time, 32 bytes of every plane. Elements of `size` bytes
// pass through two exchanges that are undone by the same steps in reverse order:
//   bytes: byte k of element 8j + i goes to byte j of row (k, i);
//   bits:  within the eight rows of one k, bit b of row i and bit i of row b change places.
// All vector steps stay within lanes of 16 bytes, which is what every x86 has; lane q holds
// elements 128q … 128q + 127.

#include "storage.h"
#include <string.h>

#include "clones.h"

typedef uint8_t Vector __attribute__((vector_size(32)));
typedef uint64_t Words __attribute__((vector_size(32)));
typedef uint8_t Lane __attribute__((vector_size(16)));

enum { tile = 256 };

// Index lists for __builtin_shufflevector, built up from one lane.
#define LANES_OF(list) list(0), list(16)
#define LOW1(q)                                                                                \
  q + 0, q + 32, q + 1, q + 33, q + 2, q + 34, q + 3, q + 35, q + 4, q + 36, q + 5, q + 37,    \
      q + 6, q + 38, q + 7, q + 39
#define HIGH1(q) LOW1(q + 8)
#define PAIR(i) i, i + 1
#define LOW2(q)                                                                                \
  PAIR(q), PAIR(q + 32), PAIR(q + 2), PAIR(q + 34), PAIR(q + 4), PAIR(q + 36), PAIR(q + 6),    \
      PAIR(q + 38)
#define HIGH2(q) LOW2(q + 8)
#define FOUR(i) PAIR(i), PAIR(i + 2)
#define LOW4(q) FOUR(q), FOUR(q + 32), FOUR(q + 4), FOUR(q + 36)
#define HIGH4(q) LOW4(q + 8)
#define EIGHT(i) FOUR(i), FOUR(i + 4)
#define LOW8(q) EIGHT(q), EIGHT(q + 32)
#define HIGH8(q) LOW8(q + 8)
#define STEP2(i) i, i + 2, i + 4, i + 6, i + 8, i + 10, i + 12, i + 14
#define COLUMNS2(q) STEP2(q), STEP2(q + 1)
#define LANE(q) EIGHT(q), EIGHT(q + 8)
#define STEP4(i) i, i + 4, i + 8, i + 12
#define COLUMNS4(q) STEP4(q), STEP4(q + 1), STEP4(q + 2), STEP4(q + 3)

// (a, b) ← units of the lower halves of a and b by turns, units of the upper halves by turns.
#define INTERLEAVE(unit, a, b)                                                                 \
  do {                                                                                         \
    Vector low = __builtin_shufflevector(a, b, LANES_OF(LOW##unit));                           \
    Vector high = __builtin_shufflevector(a, b, LANES_OF(HIGH##unit));                         \
    a = low;                                                                                   \
    b = high;                                                                                  \
  } while (0)

// In every lane byte 0 of all units of 4 or 2 bytes, then byte 1 of all, and so on.
#define GATHER(unit, a) a = __builtin_shufflevector(a, a, LANES_OF(COLUMNS##unit))

// Which bits of an element are its exponent, and what the exponent is lowered by.
typedef struct {
  uint32_t field, offset;
} Exponent;

// Lowers, or raises, the exponents of all elements of a vector, modulo their range.
PB_INLINE void lower4(Vector *vector, Exponent e) {
  typedef uint32_t Elements __attribute__((vector_size(32)));
  Elements u = (Elements)*vector;
  *vector = (Vector)((u & ~e.field) | ((u - e.offset) & e.field));
}
PB_INLINE void lower2(Vector *vector, Exponent e) {
  typedef uint16_t Elements __attribute__((vector_size(32)));
  Elements u = (Elements)*vector;
  uint16_t field = (uint16_t)e.field, offset = (uint16_t)e.offset, rest = (uint16_t)~field;
  *vector = (Vector)((u & rest) | ((u - offset) & field));
}
PB_INLINE Exponent raising(Exponent e) { return (Exponent){e.field, 0 - e.offset}; }

// The same for `count` elements of `size` bytes, one after the other.
PB_INLINE void lower(const uint8_t *source, uint8_t *destination, size_t count, size_t size,
                  Exponent e) {
  for (size_t i = 0; i < count; i++) {
    uint32_t u = 0;
    memcpy(&u, source + i * size, size);
    u = (u & ~e.field) | ((u - e.offset) & e.field);
    memcpy(destination + i * size, &u, size);
  }
}

PB_INLINE void load(Vector *vector, const uint8_t *bytes) { memcpy(vector, bytes, sizeof *vector); }
PB_INLINE void store(uint8_t *bytes, const Vector *vector) { memcpy(bytes, vector, sizeof *vector); }

// Two lanes that lie `stride` bytes apart in memory.
PB_INLINE void load_lanes(Vector *vector, const uint8_t *bytes, size_t stride) {
  Lane low, high;
  memcpy(&low, bytes, sizeof low);
  memcpy(&high, bytes + stride, sizeof high);
  *vector = __builtin_shufflevector(low, high, LANE(0), LANE(16));
}
PB_INLINE void store_lanes(uint8_t *bytes, size_t stride, const Vector *vector) {
  Lane low = __builtin_shufflevector(*vector, *vector, LANE(0));
  Lane high = __builtin_shufflevector(*vector, *vector, LANE(16));
  memcpy(bytes, &low, sizeof low);
  memcpy(bytes + stride, &high, sizeof high);
}

// Exchanges the bits of a with place value `shift` higher and the bits of b under `mask`.
PB_INLINE void exchange_bits(Words *a, Words *b, int shift, uint64_t mask) {
  Words difference = ((*a >> shift) ^ *b) & mask;
  *b ^= difference;
  *a ^= difference << shift;
}

// Bit b of row i ↔ bit i of row b, for every byte of the eight rows. Its own inverse.
PB_INLINE void transpose_bits(Vector rows[8]) {
  Words *r = (Words *)rows;
  for (int i = 0; i < 4; i++) exchange_bits(&r[i], &r[i + 4], 4, 0x0F0F0F0F0F0F0F0F);
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; j++) exchange_bits(&r[i + j], &r[i + j + 2], 2, 0x3333333333333333);
  for (int i = 0; i < 8; i += 2) exchange_bits(&r[i], &r[i + 1], 1, 0x5555555555555555);
}

// A 4 × 4 matrix of 4-byte units in every lane. Its own inverse.
PB_INLINE void transpose4(Vector *a, Vector *b, Vector *c, Vector *d) {
  INTERLEAVE(4, *a, *c);
  INTERLEAVE(4, *b, *d);
  INTERLEAVE(4, *a, *b);
  INTERLEAVE(4, *c, *d);
  // now a = rows 0, b = 1, c = 2, d = 3 of the transpose
}

// An 8 × 8 matrix of 2-byte units in every lane. Its own inverse.
PB_INLINE void transpose2(Vector rows[8]) {
  for (int step = 0; step < 3; step++) {
    Vector next[8];
    for (int i = 0; i < 4; i++) {
      next[2 * i] = rows[i];
      next[2 * i + 1] = rows[i + 4];
      INTERLEAVE(2, next[2 * i], next[2 * i + 1]);
    }
    memcpy(rows, next, sizeof next);
  }
}

// 256 elements of 4 bytes from `elements` to 32 bytes of each of the 32 planes, `stride` apart.
PB_INLINE void shuffle_tile4(const uint8_t *elements, uint8_t *planes, size_t stride, Exponent e) {
  Vector rows[4][8];  // [k][i], first [m][i]
  // Four of the eight rows of every byte at a time, which is what the registers hold.
  for (int half = 0; half < 8; half += 4) {
    Vector quarter[4][4];  // [m][r]: elements 8j + half + r of j = 4m … 4m + 3
    for (int m = 0; m < 4; m++) {
      for (int r = 0; r < 4; r++) {
        load_lanes(&quarter[m][r], elements + (4 * m + r) * 32 + half * 4, 2 * tile);
        lower4(&quarter[m][r], e);
      }
      transpose4(&quarter[m][0], &quarter[m][1], &quarter[m][2], &quarter[m][3]);
    }
    for (int r = 0; r < 4; r++) {
      for (int m = 0; m < 4; m++) {
        rows[m][half + r] = quarter[m][r];
        GATHER(4, rows[m][half + r]);
      }
      transpose4(&rows[0][half + r], &rows[1][half + r], &rows[2][half + r], &rows[3][half + r]);
    }
  }
  for (int k = 0; k < 4; k++) {
    transpose_bits(rows[k]);
    for (int b = 0; b < 8; b++) store(planes + (size_t)(8 * k + b) * stride, &rows[k][b]);
  }
}

PB_INLINE void unshuffle_tile4(const uint8_t *planes, size_t stride, uint8_t *elements,
                            Exponent e) {
  Vector rows[4][8];
  for (int k = 0; k < 4; k++) {
    for (int b = 0; b < 8; b++) load(&rows[k][b], planes + (size_t)(8 * k + b) * stride);
    transpose_bits(rows[k]);
  }
  // Four rows of every byte at a time, which is what the registers hold.
  for (int half = 0; half < 8; half += 4) {
    Vector quarter[4][4];  // [m][r]
    for (int r = 0; r < 4; r++) {
      for (int k = 0; k < 4; k++) quarter[k][r] = rows[k][half + r];
      INTERLEAVE(1, quarter[0][r], quarter[2][r]);
      INTERLEAVE(1, quarter[1][r], quarter[3][r]);
      INTERLEAVE(1, quarter[0][r], quarter[1][r]);
      INTERLEAVE(1, quarter[2][r], quarter[3][r]);
    }
    for (int m = 0; m < 4; m++) {
      transpose4(&quarter[m][0], &quarter[m][1], &quarter[m][2], &quarter[m][3]);
      for (int r = 0; r < 4; r++) {
        lower4(&quarter[m][r], raising(e));
        store_lanes(elements + (4 * m + r) * 32 + half * 4, 2 * tile, &quarter[m][r]);
      }
    }
  }
}

// The same for elements of 2 bytes and 16 planes.
PB_INLINE void shuffle_tile2(const uint8_t *elements, uint8_t *planes, size_t stride, Exponent e) {
  Vector rows[2][8];  // [k][i], first [m][i]: elements 8j + i of j = 8m … 8m + 7
  for (int m = 0; m < 2; m++) {
    for (int r = 0; r < 8; r++) {
      load_lanes(&rows[m][r], elements + (8 * m + r) * 16, tile);
      lower2(&rows[m][r], e);
    }
    transpose2(rows[m]);
  }
  for (int i = 0; i < 8; i++) {
    GATHER(2, rows[0][i]);
    GATHER(2, rows[1][i]);
    INTERLEAVE(8, rows[0][i], rows[1][i]);
  }
  for (int k = 0; k < 2; k++) {
    transpose_bits(rows[k]);
    for (int b = 0; b < 8; b++) store(planes + (size_t)(8 * k + b) * stride, &rows[k][b]);
  }
}

PB_INLINE void unshuffle_tile2(const uint8_t *planes, size_t stride, uint8_t *elements,
                            Exponent e) {
  Vector rows[2][8];
  for (int k = 0; k < 2; k++) {
    for (int b = 0; b < 8; b++) load(&rows[k][b], planes + (size_t)(8 * k + b) * stride);
    transpose_bits(rows[k]);
  }
  for (int i = 0; i < 8; i++) INTERLEAVE(1, rows[0][i], rows[1][i]);
  for (int m = 0; m < 2; m++) {
    transpose2(rows[m]);
    for (int r = 0; r < 8; r++) {
      lower2(&rows[m][r], raising(e));
      store_lanes(elements + (8 * m + r) * 16, tile, &rows[m][r]);
    }
  }
}

// Bit b of byte i ↔ bit i of byte b. Its own inverse.
PB_INLINE uint64_t transpose_word(uint64_t x) {
  uint64_t t = (x ^ x >> 28) & 0x00000000F0F0F0F0;
  x ^= t ^ t << 28;
  t = (x ^ x >> 14) & 0x0000CCCC0000CCCC;
  x ^= t ^ t << 14;
  t = (x ^ x >> 7) & 0x00AA00AA00AA00AA;
  return x ^ t ^ t << 7;
}

// Eight elements, one byte of every plane.
PB_INLINE void shuffle_group(const uint8_t *elements, uint8_t *planes, size_t stride, size_t size) {
  for (size_t k = 0; k < size; k++) {
    uint64_t word = 0;
    for (size_t i = 0; i < 8; i++) word |= (uint64_t)elements[i * size + k] << 8 * i;
    word = transpose_word(word);
    for (size_t b = 0; b < 8; b++) planes[(8 * k + b) * stride] = (uint8_t)(word >> 8 * b);
  }
}

PB_INLINE void unshuffle_group(const uint8_t *planes, size_t stride, uint8_t *elements, size_t size) {
  for (size_t k = 0; k < size; k++) {
    uint64_t word = 0;
    for (size_t b = 0; b < 8; b++) word |= (uint64_t)planes[(8 * k + b) * stride] << 8 * b;
    word = transpose_word(word);
    for (size_t i = 0; i < 8; i++) elements[i * size + k] = (uint8_t)(word >> 8 * i);
  }
}

PB_CLONES void bit_shuffle(const void *source, void *destination, size_t length, size_t size,
                        uint32_t field, uint32_t offset) {
  const uint8_t *elements = source;
  uint8_t *planes = destination;
  const Exponent e = {field, offset};
  size_t whole = size == 2 || size == 4 ? length / size : 0;
  size_t count = whole / 8 * 8, stride = count / 8, i = 0;
  if (size == 4)
    for (; i + tile <= count; i += tile) shuffle_tile4(elements + i * 4, planes + i / 8, stride, e);
  else if (size == 2)
    for (; i + tile <= count; i += tile) shuffle_tile2(elements + i * 2, planes + i / 8, stride, e);
  uint8_t group[8 * sizeof(uint32_t)];
  for (; i < count; i += 8) {
    lower(elements + i * size, group, 8, size, e);
    shuffle_group(group, planes + i / 8, stride, size);
  }
  lower(elements + count * size, planes + count * size, whole - count, size, e);
  memcpy(planes + whole * size, elements + whole * size, length - whole * size);
}

PB_CLONES void bit_unshuffle(const void *source, void *destination, size_t length, size_t size,
                          uint32_t field, uint32_t offset, size_t first, size_t count) {
  const uint8_t *planes = source;
  uint8_t *elements = destination;
  const Exponent e = {field, offset};
  size_t whole = size == 2 || size == 4 ? length / size : 0;
  size_t shuffled = whole / 8 * 8, stride = shuffled / 8;
  size_t i = whole > 0 ? first / size : 0, last = whole > 0 ? (first + count) / size : 0;
  size_t end = last < shuffled ? last : shuffled;  // of the shuffled elements that are wanted
  const size_t begin = i;
  uint8_t part[tile * sizeof(uint32_t)];
  while (i < end) {
    // What contains element i: a tile, or eight elements behind the last tile.
    size_t start = i / tile * tile, units = tile;
    if (start + tile > shuffled) {
      start = i / 8 * 8;
      units = 8;
    }
    size_t next = start + units < end ? start + units : end;
    int direct = i == start && next == start + units;
    uint8_t *to = direct ? elements + (i - begin) * size : part;
    if (units == tile && size == 4) {
      unshuffle_tile4(planes + start / 8, stride, to, e);
    } else if (units == tile) {
      unshuffle_tile2(planes + start / 8, stride, to, e);
    } else {
      uint8_t group[8 * sizeof(uint32_t)];
      unshuffle_group(planes + start / 8, stride, group, size);
      lower(group, to, 8, size, raising(e));
    }
    if (!direct)
      memcpy(elements + (i - begin) * size, part + (i - start) * size, (next - i) * size);
    i = next;
  }
  // The elements, and then the bytes, that stayed where they were.
  if (last > i) {
    lower(planes + i * size, elements + (i - begin) * size, last - i, size, raising(e));
    i = last;
  }
  size_t at = whole > 0 ? i * size : first;
  memcpy(elements + (at - first), planes + at, first + count - at);
}

PB_CLONES void byte_shuffle(const void *source, void *destination, size_t length, size_t size) {
  const uint8_t *from = source;
  uint8_t *to = destination;
  size_t count = size == 2 || size == 4 ? length / size : 0;
  if (size == 4)
    for (size_t i = 0; i < count; i++) {
      to[i] = from[4 * i];
      to[count + i] = from[4 * i + 1];
      to[2 * count + i] = from[4 * i + 2];
      to[3 * count + i] = from[4 * i + 3];
    }
  else if (size == 2)
    for (size_t i = 0; i < count; i++) {
      to[i] = from[2 * i];
      to[count + i] = from[2 * i + 1];
    }
  memcpy(to + count * size, from + count * size, length - count * size);
}

PB_CLONES void byte_unshuffle(const void *source, void *destination, size_t length, size_t size,
                           size_t first, size_t count) {
  const uint8_t *from = source;
  uint8_t *to = destination;
  size_t whole = size == 2 || size == 4 ? length / size : 0;
  size_t begin = whole > 0 ? first / size : 0, end = whole > 0 ? (first + count) / size : 0;
  if (size == 4)
    for (size_t i = begin; i < end; i++) {
      uint8_t *element = to + 4 * (i - begin);
      element[0] = from[i];
      element[1] = from[whole + i];
      element[2] = from[2 * whole + i];
      element[3] = from[3 * whole + i];
    }
  else if (size == 2)
    for (size_t i = begin; i < end; i++) {
      to[2 * (i - begin)] = from[i];
      to[2 * (i - begin) + 1] = from[whole + i];
    }
  size_t at = whole > 0 ? end * size : first;
  memcpy(to + (at - first), from + at, first + count - at);
}
