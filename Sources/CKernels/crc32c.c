// CRC-32C by the SSE4.2 instruction where the CPU has it, by tables otherwise.
//
// The instruction takes 8 bytes, may start every cycle and answers after three, so three stretches
// of a buffer are run side by side and joined: the CRC of a stretch followed by n bytes is the CRC
// times x^(8n) modulo the polynomial, one carry-less multiplication by a constant.

#include "storage.h"
#include <string.h>

#define POLYNOMIAL 0x82F63B78u  // reflected

static uint32_t table[8][256];
static uint32_t (*advance)(uint32_t, const uint8_t *, size_t);

// table[k][b]: the CRC of byte b followed by k zero bytes.
static void make_tables(void) {
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
    table[0][byte] = crc;
  }
  for (int k = 1; k < 8; k++)
    for (int byte = 0; byte < 256; byte++) {
      uint32_t before = table[k - 1][byte];
      table[k][byte] = (before >> 8) ^ table[0][before & 0xFF];
    }
}

static uint32_t advance_by_tables(uint32_t crc, const uint8_t *bytes, size_t length) {
  for (; length >= 8; bytes += 8, length -= 8) {
    crc ^= (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
    crc = table[7][crc & 0xFF] ^ table[6][crc >> 8 & 0xFF] ^ table[5][crc >> 16 & 0xFF] ^
          table[4][crc >> 24] ^ table[3][bytes[4]] ^ table[2][bytes[5]] ^ table[1][bytes[6]] ^
          table[0][bytes[7]];
  }
  for (; length > 0; bytes++, length--) crc = (crc >> 8) ^ table[0][(crc ^ *bytes) & 0xFF];
  return crc;
}

#if defined(__x86_64__)
#include <immintrin.h>
#define HARDWARE __attribute__((target("sse4.2,pclmul")))

static inline uint64_t load(const uint8_t *bytes) {
  uint64_t word;
  memcpy(&word, bytes, 8);
  return word;
}

// `factor` is x^(8n − 33) modulo the polynomial, reflected: the product of two reflected words
// stands one place low, and taking it as a message of 8 bytes multiplies by x^32.
HARDWARE static inline uint32_t shifted(uint32_t crc, uint32_t factor) {
  __m128i product =
      _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)crc), _mm_cvtsi32_si128((int)factor), 0);
  return (uint32_t)_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

// Takes stretches of three times `third` bytes; `once` and `twice` shift over one and two thirds.
HARDWARE static inline uint32_t thirds(uint32_t crc, const uint8_t **bytes, size_t *length,
                                       size_t third, uint32_t once, uint32_t twice) {
  const uint8_t *at = *bytes;
  size_t left = *length;
  while (left >= 3 * third) {
    uint64_t a = crc, b = 0, c = 0;
    for (const uint8_t *end = at + third; at < end;) {
      // The lines that are wanted after these three thirds; a mapped file comes from memory.
      for (size_t k = 0; k < 3; k++) __builtin_prefetch(at + (3 + k) * third);
      for (const uint8_t *line = at + 64; at < line; at += 8) {
        a = _mm_crc32_u64(a, load(at));
        b = _mm_crc32_u64(b, load(at + third));
        c = _mm_crc32_u64(c, load(at + 2 * third));
      }
    }
    crc = shifted((uint32_t)a, twice) ^ shifted((uint32_t)b, once) ^ (uint32_t)c;
    at += 2 * third;
    left -= 3 * third;
  }
  *bytes = at;
  *length = left;
  return crc;
}

HARDWARE static uint32_t advance_by_instruction(uint32_t crc, const uint8_t *bytes,
                                                size_t length) {
  crc = thirds(crc, &bytes, &length, 2048, 0xA51B6135, 0x82F89C77);
  crc = thirds(crc, &bytes, &length, 128, 0x0D3B6092, 0xB9E02B86);
  uint64_t word = crc;
  for (; length >= 8; bytes += 8, length -= 8) word = _mm_crc32_u64(word, load(bytes));
  crc = (uint32_t)word;
  for (; length > 0; bytes++, length--) crc = _mm_crc32_u8(crc, *bytes);
  return crc;
}
#endif

__attribute__((constructor)) static void choose(void) {
  make_tables();
  advance = advance_by_tables;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
    advance = advance_by_instruction;
#endif
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t length) {
  return ~advance(~crc, bytes, length);
}

uint32_t crc32c_by_tables(uint32_t crc, const void *bytes, size_t length) {
  return ~advance_by_tables(~crc, bytes, length);
}
