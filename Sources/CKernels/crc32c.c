// CRC-32C by the SSE4.2 instruction where the CPU has it, by tables otherwise.
//
// The instruction takes 8 bytes, may start every cycle and answers after three, so three stretches
// of a buffer are run side by side and joined: the CRC of a stretch followed by n bytes is the CRC
// times x^(8n) modulo the polynomial, one carry-less multiplication by a constant. Other stretches
// are folded meanwhile (Gopal et al., Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
// Instruction, Intel 2009): 16 bytes followed by n others may be replaced by their remainder there.

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

// What shifts a CRC over the stretches of one length that follow it.
typedef struct {
  size_t length;  // bytes, a multiple of 64
  uint32_t once, twice, thrice;
} Stretch;

static const Stretch long_stretch = {1024, 0x170076FA, 0xA51B6135, 0x359674F7},
                     short_stretch = {128, 0x0D3B6092, 0xB9E02B86, 0xD270F1A2};

// 16 bytes of a message, moved past `distance` bytes that follow: each half by a factor of its own,
// x^(8·distance + 31) for the first, x^(8·distance − 33) for the second, reflected.
HARDWARE static inline __m128i folded(__m128i x, __m128i factors, __m128i next) {
  __m128i first = _mm_clmulepi64_si128(x, factors, 0x00);
  __m128i second = _mm_clmulepi64_si128(x, factors, 0x11);
  return _mm_xor_si128(_mm_xor_si128(first, second), next);
}

HARDWARE static inline __m128i load16(const uint8_t *bytes) {
  return _mm_loadu_si128((const __m128i *)bytes);
}

// Takes two stretches, which are folded 64 bytes at a time, and three more by the instruction beside
// them, as often as there are five: a core has different units for the two.
HARDWARE static inline uint32_t stretches(uint32_t crc, const uint8_t **bytes, size_t *length,
                                          Stretch stretch) {
  const __m128i by64 = _mm_set_epi64x(0x9E4ADDF8, 0x740EEF02);
  const __m128i by16 = _mm_set_epi64x(0x493C7D27, 0xF20C0DFE);
  const size_t one = stretch.length, all = 5 * one;
  const uint8_t *at = *bytes;
  size_t left = *length;
  for (; left >= all; left -= all) {
    __m128i x[4];
    for (int k = 0; k < 4; k++) x[k] = load16(at + 16 * k);
    x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)crc));
    const uint8_t *a = at + 2 * one;
    uint64_t crc_a = 0, crc_b = 0, crc_c = 0;
    for (const uint8_t *end = a + one;;) {
      // The lines that are wanted after these stretches; a mapped file comes from memory.
      __builtin_prefetch(at + all);
      for (size_t k = 0; k < 3; k++) __builtin_prefetch(a + k * one + all);
      for (const uint8_t *four = a + 32; a < four; a += 8) {
        crc_a = _mm_crc32_u64(crc_a, load(a));
        crc_b = _mm_crc32_u64(crc_b, load(a + one));
        crc_c = _mm_crc32_u64(crc_c, load(a + 2 * one));
      }
      at += 64;
      if (a == end) break;
      for (int k = 0; k < 4; k++) x[k] = folded(x[k], by64, load16(at + 16 * k));
    }
    for (int k = 1; k < 4; k++) x[k] = folded(x[k - 1], by16, x[k]);
    uint64_t crc_x = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(x[3]));
    crc_x = _mm_crc32_u64(crc_x, (uint64_t)_mm_extract_epi64(x[3], 1));
    crc = shifted((uint32_t)crc_x, stretch.thrice) ^ shifted((uint32_t)crc_a, stretch.twice) ^
          shifted((uint32_t)crc_b, stretch.once) ^ (uint32_t)crc_c;
    at = a + 2 * one;
  }
  *bytes = at;
  *length = left;
  return crc;
}

HARDWARE static uint32_t advance_by_instruction(uint32_t crc, const uint8_t *bytes,
                                                size_t length) {
  crc = stretches(crc, &bytes, &length, long_stretch);
  crc = stretches(crc, &bytes, &length, short_stretch);
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
