// Eight doubles side by side: the columns of a panel, the vectors of a block.
#ifndef PATCHBAY_EIGHT_H
#define PATCHBAY_EIGHT_H

#include "clones.h"

enum { PB_EIGHT = 8 };
typedef double pb_eight __attribute__((vector_size(8 * PB_EIGHT), aligned(8)));

// sum += value * b
PB_INLINE void pb_add_multiple(pb_eight *sum, double value, const pb_eight *b) {
  pb_eight a = {value, value, value, value, value, value, value, value};
  *sum = __builtin_elementwise_fma(a, *b, *sum);
}

#endif
