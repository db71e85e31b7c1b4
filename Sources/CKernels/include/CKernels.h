#ifndef PATCHBAY_CKERNELS_H
#define PATCHBAY_CKERNELS_H
#include "storage.h"
#include "transformer.h"
#endif
