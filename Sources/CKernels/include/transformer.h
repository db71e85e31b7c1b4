// The parts of a GPT-2 pass that are not matrix products.
//
// Every kernel gives the same bits on every CPU: products and sums are never contracted into fused
// operations, and a reduction always adds in the same order, sixteen interleaved partial sums that
// are then added in a fixed tree. Matrices are row-major float32. Nothing is allocated.
#ifndef PATCHBAY_TRANSFORMER_H
#define PATCHBAY_TRANSFORMER_H
#include <stddef.h>

// y[i] = x[i] / (1 + exp(-2u)), u = sqrt(2/pi) (x[i] + 0.044715 x[i]^3): Hendrycks & Gimpel's GELU
// in its tanh form ("gelu_new"), 0.5 x (1 + tanh u), written so that the tail keeps its digits.
// x and y may be the same.
void pb_gelu_new(const float *x, float *y, size_t count);

// out = a + b. out may be a or b.
void pb_add(const float *a, const float *b, float *out, size_t count);

// For each of `rows` rows of `width` values:
//   scale[row] = sqrt(mean((x - mean(x))^2) + epsilon), normalized = (x - mean(x)) / scale[row].
void pb_layernorm(const float *x, size_t rows, size_t width, float epsilon, float *scale,
                  float *normalized);

// The same in two steps, for a pass that may change the scale in between: centre leaves x - mean(x)
// in `centred` and the scale in `scale`; divide then divides each row by its scale.
void pb_layernorm_centre(const float *x, size_t rows, size_t width, float epsilon, float *scale,
                         float *centred);
void pb_divide_rows(float *x, const float *divisors, size_t rows, size_t width);

// y = x * weight + bias for each row.
void pb_scale_shift(const float *x, const float *weight, const float *bias, size_t rows,
                    size_t width, float *y);

// Keys of one head as attention wants them, in tiles of sixteen positions, [K, 16] each: the key of
// position p goes to packed[(p / 16) * 16 * head_width + d * 16 + p % 16], for p = first ... first +
// count - 1. `packed` has room for whole tiles; what lies in the lanes of no key does not matter, and those
// behind the last one may be written to: keys are packed from the first to the last.
void pb_pack_keys(const float *keys, size_t stride, size_t count, size_t head_width, float *packed,
                  size_t first);

// Attention scores of one head: query i stands at position start + i and sees the keys at positions
// 0 ... start + i.
//   scores[i * columns + j] = (q_i . k_j) / divisor for j <= start + i, else -infinity, j < start + queries.
// `columns`, at least start + queries, is the length of a row, here as below; what lies behind a row's last
// position may be overwritten. Whole vectors fit into rows of a multiple of 16, which are faster where there
// are few keys. `packed` is from pb_pack_keys and holds the keys of positions 0 ... start + queries - 1.
void pb_attention_scores(const float *q, size_t stride, size_t queries, size_t start,
                         size_t head_width, const float *packed, float divisor, float *scores,
                         size_t columns);

// Softmax over the keys that each query sees, zero over the others; a row that is not a number
// becomes zero, as in TransformerLens. scores and pattern may be the same.
void pb_causal_softmax(const float *scores, size_t columns, size_t queries, size_t start,
                       float *pattern);

// z_i += sum over j of pattern[i, first + j] * values_j for the `count` rows of `values`, which stand at
// positions first ... first + count - 1, where pattern is zero behind a query's own position: of a value that
// is not finite there it makes a NaN, or nothing. Values of position 0 are not added to what z is, but begin it.
void pb_attention_mix(const float *pattern, size_t columns, size_t queries, size_t start,
                      const float *values, size_t values_stride, size_t first, size_t count,
                      size_t head_width, float *z, size_t z_stride);

#endif
