#ifndef PATCHBAY_CKERNELS_H
#define PATCHBAY_CKERNELS_H
#include "blocks.h"
#include "matmul.h"
#include "statistics.h"
#include "storage.h"
#include "transformer.h"
#endif
