/* The canonical squared distance: one arithmetic on every machine, so that every build picks the same samples.
 *
 * Sixteen lanes in float32 without fused multiply-add (-ffp-contract=off): lane l sums the terms j = l mod 16 in
 * increasing j, then lane l takes lane l+8, l+4, l+2, l+1. The compiler may put the lanes into any vector width it
 * likes; the order of additions within a lane, and so every bit, stays. */
#ifndef WINNOW_DISTANCES_H
#define WINNOW_DISTANCES_H

#include <stddef.h>

#define WINNOW_LANES 16

static inline float winnow_squared_distance(const float *a, const float *b, ptrdiff_t width) {
    float lane[WINNOW_LANES] = {0};
    ptrdiff_t whole = width - width % WINNOW_LANES;
    for (ptrdiff_t j = 0; j < whole; j += WINNOW_LANES)
        for (int l = 0; l < WINNOW_LANES; l++) {
            float difference = a[j + l] - b[j + l];
            lane[l] += difference * difference;
        }
    for (int l = 0; l < width - whole; l++) {
        float difference = a[whole + l] - b[whole + l];
        lane[l] += difference * difference;
    }
    for (int half = WINNOW_LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

#endif
