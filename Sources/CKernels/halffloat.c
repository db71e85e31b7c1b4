// float16 and bfloat16, by integer arithmetic that the compiler vectorises and that is therefore
// the same on every CPU, with or without conversion instructions.

#include "storage.h"
#include <string.h>

#include "clones.h"

static inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

static inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static inline uint16_t to_f16(float value) {
  uint32_t bits = bits_of(value);
  uint32_t sign = bits >> 16 & 0x8000;
  uint32_t magnitude = bits & 0x7FFFFFFF;
  // Exponent bias from 127 to 15, then half a unit of the last place kept, less one when even.
  uint32_t normal = (magnitude + 0xC8000FFF + (magnitude >> 13 & 1)) >> 13;
  normal = normal > 0x7C00 ? 0x7C00 : normal;
  // Below 2^-14: adding 0.5 leaves a multiple of 2^-24 in the low bits, rounded by the addition.
  uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - 0x3F000000;
  uint32_t nan = 0x7E00 | (magnitude >> 13 & 0x3FF);
  uint32_t result = magnitude < 0x38800000 ? subnormal : normal;
  result = magnitude > 0x7F800000 ? nan : result;
  return (uint16_t)(sign | result);
}

static inline float from_f16(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16;
  uint32_t magnitude = (uint32_t)(half & 0x7FFF) << 13;
  uint32_t normal = magnitude + (112u << 23);
  uint32_t special = magnitude + (224u << 23);
  uint32_t subnormal = bits_of(float_of(magnitude + (113u << 23)) - 0x1p-14f);
  uint32_t result = magnitude < (1u << 23) ? subnormal : normal;
  result = magnitude >= (31u << 23) ? special : result;
  return float_of(sign | result);
}

static inline uint16_t to_bf16(float value) {
  uint32_t bits = bits_of(value);
  uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  uint32_t nan = bits >> 16 | 0x40;
  return (uint16_t)((bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded);
}

PB_CLONES void narrow_to_f16(const float *source, uint16_t *destination, size_t count) {
  for (size_t i = 0; i < count; i++) destination[i] = to_f16(source[i]);
}

PB_CLONES void narrow_to_bf16(const float *source, uint16_t *destination, size_t count) {
  for (size_t i = 0; i < count; i++) destination[i] = to_bf16(source[i]);
}

PB_CLONES void widen_f16(const uint16_t *source, float *destination, size_t count) {
  for (size_t i = 0; i < count; i++) destination[i] = from_f16(source[i]);
}

PB_CLONES void widen_bf16(const uint16_t *source, float *destination, size_t count) {
  for (size_t i = 0; i < count; i++) destination[i] = float_of((uint32_t)source[i] << 16);
}
