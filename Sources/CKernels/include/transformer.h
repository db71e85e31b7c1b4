#ifndef PATCHBAY_TRANSFORMER_H
#define PATCHBAY_TRANSFORMER_H
#include <stddef.h>
#endif
