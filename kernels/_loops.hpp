/* Chooses, once and at run time, the widest inner loops the machine has. */
#ifndef WINNOW_LOOPS_HPP
#define WINNOW_LOOPS_HPP

#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "_distances.h"

namespace winnow {

constexpr float CODES = 127.0f;         /* the largest code */
constexpr float CLIP = 5e8f;            /* sums of codes stay in 32 bits below this */
constexpr float SPECK = 1e-18f;         /* longer than anything underflow can hide from a distance */
constexpr float ROUNDER = 12582912.0f;  /* added and taken away: rounds what is small to a whole number */

struct Code {
    int32_t sum;
    float length, missed; /* squared: of the codes, and of what they leave out */
};

/* Vectors of the compiler's own, which it maps onto what a level allows. */
typedef float Sixteen __attribute__((vector_size(64)));
typedef float Eight __attribute__((vector_size(32)));
typedef int32_t SixteenInts __attribute__((vector_size(64)));
typedef int8_t SixteenBytes __attribute__((vector_size(16)));
union Halves {
    Sixteen whole;
    Eight half[2];
};
union Quarters {
    Eight whole;
    winnow_four half[2];
};

#define load(from)                                                                                                     \
    ({                                                                                                                 \
        Sixteen loaded; /* rows need not be aligned */                                                                 \
        memcpy(&loaded, from, sizeof loaded);                                                                          \
        loaded;                                                                                                        \
    })

struct Loops {
    float (*squared)(const float *a, const float *b, int width);
    void (*squared_to_all)(const float *a, const float *rows, int count, int width, float *out);
    float (*lower)(const float *a, const float *rows, int count, int width, int32_t rank, float *squared, int32_t *ranks);
    void (*products)(const float *const rows[4], const float *columns, int width, float *out);
    uint32_t (*near_codes)(const uint8_t *tile, const int32_t *codes, int fours, const int32_t *points,
                           const int32_t *queries, uint32_t *near);
    float (*largest_difference)(const float *row, const float *middle, int width);
    Code (*encode)(const float *row, const float *middle, int width, float scale, int8_t *out);
    void (*limits)(const float *squared, const float *residual, const float *length, float more, float inverse, float up,
                   int32_t *out);
    void (*summary)(const float *squared, const float *to_middle, float up, float *largest, float *reach);
    float (*shift)(const float *row, const float *middle, int width, float *out);
};

#define WINNOW_LEVEL 0
#define WINNOW_NAME(name) name##_baseline
#define WINNOW_TARGET
#include "_loops.inc"
#if defined(__x86_64__)
#define WINNOW_LEVEL 1
#define WINNOW_NAME(name) name##_avx2
#define WINNOW_TARGET __attribute__((target("avx2,fma")))
#include "_loops.inc"
#define WINNOW_LEVEL 2
#define WINNOW_NAME(name) name##_avx512
#define WINNOW_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")))
#include "_loops.inc"
#endif

/* The widest level this machine has. */
static inline int widest_level() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return 1;
#endif
    return 0;
}

static inline const Loops &loops_of(int level) {
#if defined(__x86_64__)
    if (level == 2)
        return loops_avx512;
    if (level == 1)
        return loops_avx2;
#endif
    (void)level;
    return loops_baseline;
}

#undef load

} // namespace winnow
#endif
