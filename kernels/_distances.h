/* The canonical squared distance: one arithmetic on every machine, so that every build picks the same samples.
 *
 * Sixteen lanes in float32 without fused multiply-add (-ffp-contract=off): lane l sums the terms j = l mod 16 in
 * increasing j, then lane l takes lane l+8, l+4, l+2, l+1. The lanes stand here as four vectors of four, which GCC and
 * Clang map onto whatever the machine has; the order of additions within a lane, and so every bit, stays. */
#ifndef WINNOW_DISTANCES_H
#define WINNOW_DISTANCES_H

#include <math.h>
#include <stddef.h>
#include <string.h>

#define WINNOW_LANES 16
#define WINNOW_GLANCE 64 /* terms between two looks at whether a pair can still matter */

typedef float winnow_four __attribute__((vector_size(16)));

static inline winnow_four winnow_term(const float *a, const float *b) {
    winnow_four left, right;
    memcpy(&left, a, sizeof left); /* rows need not start at a multiple of 16 bytes */
    memcpy(&right, b, sizeof right);
    left -= right;
    return left * left;
}

static inline float winnow_sum_of_four(winnow_four four) { return (four[0] + four[2]) + (four[1] + four[3]); }

static inline float winnow_sum_of_lanes(winnow_four v0, winnow_four v1, winnow_four v2, winnow_four v3) {
    return winnow_sum_of_four((v0 + v2) + (v1 + v3));
}

/* The canonical squared distance where it is below `limit`; elsewhere some number that is at least `limit`.
 *
 * Stopping early is exact: no term is negative and rounding is monotone, so a lane never falls, and the sum of lanes
 * so far never exceeds the final one. */
static inline float winnow_squared_distance_below(const float *a, const float *b, ptrdiff_t width, float limit) {
    winnow_four v0 = {0}, v1 = {0}, v2 = {0}, v3 = {0};
    ptrdiff_t whole = width - width % WINNOW_LANES, j = 0;
    while (j < whole) {
        ptrdiff_t stop = whole - j > WINNOW_GLANCE ? j + WINNOW_GLANCE : whole;
        for (; j < stop; j += WINNOW_LANES) {
            v0 += winnow_term(a + j, b + j);
            v1 += winnow_term(a + j + 4, b + j + 4);
            v2 += winnow_term(a + j + 8, b + j + 8);
            v3 += winnow_term(a + j + 12, b + j + 12);
        }
        if (j < whole) {
            float so_far = winnow_sum_of_lanes(v0, v1, v2, v3);
            if (so_far >= limit)
                return so_far;
        }
    }
    if (whole < width) { /* the last lanes: a padding of zeros adds nothing, bit for bit */
        float left[WINNOW_LANES] = {0}, right[WINNOW_LANES] = {0};
        memcpy(left, a + whole, (size_t)(width - whole) * sizeof(float));
        memcpy(right, b + whole, (size_t)(width - whole) * sizeof(float));
        v0 += winnow_term(left, right);
        v1 += winnow_term(left + 4, right + 4);
        v2 += winnow_term(left + 8, right + 8);
        v3 += winnow_term(left + 12, right + 12);
    }
    return winnow_sum_of_lanes(v0, v1, v2, v3);
}

static inline float winnow_squared_distance(const float *a, const float *b, ptrdiff_t width) {
    return winnow_squared_distance_below(a, b, width, INFINITY);
}

#endif
