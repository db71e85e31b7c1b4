#ifndef PATCHBAY_STORAGE_H
#define PATCHBAY_STORAGE_H
#include <stddef.h>
#include <stdint.h>

// Every kernel gives the same bytes on every CPU. Source and destination must not overlap.

/// CRC-32C (Castagnoli: polynomial 0x1EDC6F41 reflected, initial value and final XOR all ones) of
/// `length` bytes. `crc` is 0, or the result for the bytes before these.
uint32_t crc32c(uint32_t crc, const void *bytes, size_t length);
/// The same by tables alone, whatever the CPU can do. For tests.
uint32_t crc32c_by_tables(uint32_t crc, const void *bytes, size_t length);

/// Lays byte k of all elements together, for k = 0 … size − 1; the `length % size` bytes at the
/// end stay where they are. `size` is 2 or 4; any other size copies.
void byte_shuffle(const void *source, void *destination, size_t length, size_t size);
void byte_unshuffle(const void *source, void *destination, size_t length, size_t size);

/// Lays bit p of all elements together, for p = 0 … 8·size − 1, bit 0 the least significant of the
/// little-endian element. Bit i % 8 of byte i / 8 of a plane belongs to element i. Covers as many
/// elements as are a multiple of 8; the bytes after them stay where they are. `size` is 2 or 4;
/// any other size copies.
void bit_shuffle(const void *source, void *destination, size_t length, size_t size);
void bit_unshuffle(const void *source, void *destination, size_t length, size_t size);

/// float32 to float16 and bfloat16, rounded to nearest, ties to even. Too large becomes infinite;
/// a NaN stays a NaN, quiet, with the upper bits of its payload.
void narrow_to_f16(const float *source, uint16_t *destination, size_t count);
void narrow_to_bf16(const float *source, uint16_t *destination, size_t count);
/// Exact. NaN payloads are kept as they are.
void widen_f16(const uint16_t *source, float *destination, size_t count);
void widen_bf16(const uint16_t *source, float *destination, size_t count);

int triangle_fill(const void *s, size_t m, size_t n, size_t z, uint32_t *fill);
void pack_triangle(const void *s, void *d, size_t m, size_t n, size_t z);
void unpack_triangle(const void *s, void *d, size_t m, size_t n, size_t z,uint32_t f);
void bit_shuffle6(const void *s, void *d, size_t l, size_t z,uint32_t f,uint32_t o);
void bit_unshuffle6(const void *s, void *d, size_t l, size_t z,uint32_t f,uint32_t o);
#endif
