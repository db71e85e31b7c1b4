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
/// Undoes it for bytes `first` … `first + count − 1` of the elements, which are all that is written.
/// `first` is a multiple of `size`, and so is `count` unless they are the last ones.
void byte_unshuffle(const void *source, void *destination, size_t length, size_t size, size_t first,
                    size_t count);

/// Lowers the exponent of every element by `offset`, then lays bit p of all elements together, for
/// p = 0 … 8·size − 1, bit 0 the least significant of the little-endian element. Bit i % 8 of byte
/// i / 8 of a plane belongs to element i. Covers as many elements as are a multiple of 8; those
/// after them stay where they are, and so do the bytes after the last whole element.
///
/// `field` has the bits of an element that are its exponent, `offset` is a multiple of the lowest of
/// them: an element u becomes (u & ~field) | ((u − offset) & field). Common exponents that are laid
/// into 0 … 15 leave four planes constant. `size` is 2 or 4; any other size copies.
void bit_shuffle(const void *source, void *destination, size_t length, size_t size, uint32_t field,
                 uint32_t offset);
/// Undoes it for some bytes, as `byte_unshuffle` does.
void bit_unshuffle(const void *source, void *destination, size_t length, size_t size,
                   uint32_t field, uint32_t offset, size_t first, size_t count);

/// Whether every element above the diagonals of `matrices` row-major matrices, side × side elements
/// of `size` (2 or 4) bytes each, has the same bits; `fill` gets them, 0 where there is none.
int triangle_fill(const void *source, size_t matrices, size_t side, size_t size, uint32_t *fill);
/// Leaves out what stands above the diagonals: of row i the first i + 1 elements remain, rows and
/// matrices without gaps.
void pack_triangle(const void *source, void *destination, size_t matrices, size_t side,
                   size_t size);
/// Puts `fill` back above the diagonals.
void unpack_triangle(const void *source, void *destination, size_t matrices, size_t side,
                     size_t size, uint32_t fill);

/// float32 to float16 and bfloat16, rounded to nearest, ties to even. Too large becomes infinite;
/// a NaN stays a NaN, quiet, with the upper bits of its payload.
void narrow_to_f16(const float *source, uint16_t *destination, size_t count);
void narrow_to_bf16(const float *source, uint16_t *destination, size_t count);
/// Exact. NaN payloads are kept as they are.
void widen_f16(const uint16_t *source, float *destination, size_t count);
void widen_bf16(const uint16_t *source, float *destination, size_t count);

#endif
