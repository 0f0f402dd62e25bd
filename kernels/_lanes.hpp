/* Loops over sixteen lanes, compiled for several instruction sets and chosen at run time; the same bits from all.
 *
 * GCC and Clang map the vector types onto whatever a machine has. Where the linker can choose between clones of a
 * function (Linux on x86-64) there are three of each; elsewhere there is one. */
#ifndef WINNOW_LANES_HPP
#define WINNOW_LANES_HPP

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__linux__) && (defined(__GNUC__) && !defined(__clang__))
#define WINNOW_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#define WINNOW_VNNI 1
#include <immintrin.h>
#else
#define WINNOW_CLONES
#endif
#define WINNOW_INLINE static inline __attribute__((always_inline))

namespace winnow::alive {

typedef float Lanes __attribute__((vector_size(64)));
typedef float Half __attribute__((vector_size(32)));
typedef float Quarter __attribute__((vector_size(16)));
typedef int32_t Whole __attribute__((vector_size(64)));
typedef char Codes __attribute__((vector_size(16)));

constexpr int64_t LANES = 16;
constexpr int TILE = 32;    // points that are filtered at once
constexpr int TOGETHER = 8; // queries they are filtered for

WINNOW_INLINE void load(Lanes &lanes, const float *from) { std::memcpy(&lanes, from, sizeof lanes); }

WINNOW_INLINE float sum_of(const Lanes &lanes) { // lane l takes l+8, then l+4, l+2, l+1
    Half low, high;
    std::memcpy(&low, &lanes, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char *>(&lanes) + sizeof low, sizeof high);
    low += high;
    Quarter left, right;
    std::memcpy(&left, &low, sizeof left);
    std::memcpy(&right, reinterpret_cast<const char *>(&low) + sizeof left, sizeof right);
    left += right;
    return (left[0] + left[2]) + (left[1] + left[3]);
}

/* The canonical squared distance of `_distances.h`, bit for bit. */
WINNOW_CLONES static float squared_distance(const float *a, const float *b, int64_t width) {
    Lanes sum = {}, left, right;
    int64_t j = 0;
    for (; j + LANES <= width; j += LANES) {
        load(left, a + j);
        load(right, b + j);
        left -= right;
        sum += left * left;
    }
    if (j < width) { // a padding of zeros adds nothing
        float rest[2][LANES] = {};
        std::memcpy(rest[0], a + j, static_cast<size_t>(width - j) * sizeof(float));
        std::memcpy(rest[1], b + j, static_cast<size_t>(width - j) * sizeof(float));
        load(left, rest[0]);
        load(right, rest[1]);
        left -= right;
        sum += left * left;
    }
    return sum_of(sum);
}

/* A vector in 8 bits, seen from a centre: scale * code is the vector less the centre, but for the residual. */
struct Coded {
    double squares;  // the sum of the squared codes
    double residual; // the length of what rounding lost
    int32_t sum;     // of the codes
};

/* The largest coordinate of vector - centre, sign aside. `width` is a multiple of the lanes, here and below. */
WINNOW_CLONES static float largest(const float *vector, const float *centre, int64_t width) {
    Lanes value, base, most = {};
    for (int64_t j = 0; j < width; j += LANES) {
        load(value, vector + j);
        load(base, centre + j);
        value -= base;
        value = value < 0 ? -value : value;
        most = value > most ? value : most;
    }
    float top = 0;
    for (int64_t lane = 0; lane < LANES; ++lane)
        top = most[lane] > top ? most[lane] : top;
    return top;
}

/* Four codes make a word; the words lie `stride` bytes apart. Every byte is written xor `flip`. */
WINNOW_CLONES static Coded
encode(const float *vector, const float *centre, int64_t width, float scale, int8_t *codes, int64_t stride, char flip) {
    Lanes value, base, squares = {}, lost = {};
    Whole sum = {};
    float inverse = 1 / scale;
    for (int64_t j = 0; j < width; j += LANES) {
        load(value, vector + j);
        load(base, centre + j);
        value -= base;
        Lanes code = (value * inverse + 12582912.0f) - 12582912.0f; // 1.5 * 2^23: rounds to the nearest whole number
        value -= scale * code;
        lost += value * value;
        squares += code * code;
        Whole whole = __builtin_convertvector(code, Whole);
        sum += whole;
        Codes narrow = __builtin_convertvector(whole, Codes) ^ flip; // a byte each
        for (int word = 0; word < 4; ++word)
            std::memcpy(codes + (j / 4 + word) * stride, reinterpret_cast<const char *>(&narrow) + 4 * word, 4);
    }
    int32_t total = 0;
    for (int64_t lane = 0; lane < LANES; ++lane)
        total += sum[lane];
    return {sum_of(squares), std::sqrt(static_cast<double>(sum_of(lost))), total};
}

/* What TOGETHER queries ask of a tile: point p may be near enough to query q only where
 *   dot(p, q) - shift[q] >= (size[p] + offset[q]) * inverse[q],
 * dot being that of the point's codes plus 128 with the query's. Bit p of passed[q] says so. */
struct Asked {
    const int8_t *codes; // (words, TOGETHER, 4)
    const float *offset;
    const float *inverse;
    const int32_t *shift;
};

using Filter = void (*)(const uint8_t *tile, int64_t words, const float *size, const Asked &asked, uint32_t *passed);

WINNOW_CLONES static void
filter_anywhere(const uint8_t *tile, int64_t words, const float *size, const Asked &asked, uint32_t *passed) {
    for (int q = 0; q < TOGETHER; ++q) {
        int32_t dots[TILE] = {};
        for (int64_t word = 0; word < words; ++word) {
            const int8_t *code = asked.codes + (word * TOGETHER + q) * 4;
            const uint8_t *points = tile + word * TILE * 4;
            for (int p = 0; p < TILE; ++p)
                dots[p] += points[4 * p] * code[0] + points[4 * p + 1] * code[1] + points[4 * p + 2] * code[2] +
                           points[4 * p + 3] * code[3];
        }
        passed[q] = 0;
        for (int p = 0; p < TILE; ++p) {
            bool may = static_cast<float>(dots[p] - asked.shift[q]) >= (size[p] + asked.offset[q]) * asked.inverse[q];
            passed[q] |= static_cast<uint32_t>(may) << p;
        }
    }
}

#ifdef WINNOW_VNNI
__attribute__((target("avx512f,avx512bw,avx512vnni"))) static void
filter_vnni(const uint8_t *tile, int64_t words, const float *size, const Asked &asked, uint32_t *passed) {
    __m512i low[TOGETHER], high[TOGETHER];
    for (int q = 0; q < TOGETHER; ++q)
        low[q] = high[q] = _mm512_setzero_si512();
    for (int64_t word = 0; word < words; ++word) {
        __m512i points = _mm512_loadu_si512(tile + word * TILE * 4);
        __m512i others = _mm512_loadu_si512(tile + word * TILE * 4 + 64);
#pragma GCC unroll 8
        for (int q = 0; q < TOGETHER; ++q) {
            int32_t four;
            std::memcpy(&four, asked.codes + (word * TOGETHER + q) * 4, 4);
            low[q] = _mm512_dpbusd_epi32(low[q], points, _mm512_set1_epi32(four));
            high[q] = _mm512_dpbusd_epi32(high[q], others, _mm512_set1_epi32(four));
        }
    }
    __m512 near = _mm512_loadu_ps(size), far = _mm512_loadu_ps(size + 16);
#pragma GCC unroll 8
    for (int q = 0; q < TOGETHER; ++q) {
        __m512 offset = _mm512_set1_ps(asked.offset[q]), inverse = _mm512_set1_ps(asked.inverse[q]);
        __m512i shift = _mm512_set1_epi32(asked.shift[q]);
        __m512 left = _mm512_cvtepi32_ps(_mm512_sub_epi32(low[q], shift));
        __m512 right = _mm512_cvtepi32_ps(_mm512_sub_epi32(high[q], shift));
        uint32_t first = _mm512_cmp_ps_mask(left, _mm512_mul_ps(_mm512_add_ps(near, offset), inverse), _CMP_GE_OQ);
        uint32_t second = _mm512_cmp_ps_mask(right, _mm512_mul_ps(_mm512_add_ps(far, offset), inverse), _CMP_GE_OQ);
        passed[q] = first | second << 16;
    }
}
#endif

/* The fastest filter that this machine has and `level` allows: `instructions.py` names the levels. */
inline Filter best_filter(int level) {
#ifdef WINNOW_VNNI
    if (level >= 2 && __builtin_cpu_supports("avx512vnni"))
        return filter_vnni;
#endif
    (void)level;
    return filter_anywhere;
}

} // namespace winnow::alive
#endif
