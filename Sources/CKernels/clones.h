// What makes a kernel as fast as the CPU that it runs on.
#ifndef PATCHBAY_CLONES_H
#define PATCHBAY_CLONES_H

// Compiled for several levels of instruction sets, of which the loader chooses.
#if defined(__x86_64__) && defined(__linux__)
#define PB_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define PB_CLONES
#endif
#define PB_INLINE static inline __attribute__((always_inline))

#endif
