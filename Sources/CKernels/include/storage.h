#ifndef PATCHBAY_STORAGE_H
#define PATCHBAY_STORAGE_H
#include <stddef.h>
#include <stdint.h>
#endif
