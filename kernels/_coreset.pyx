# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The loops of the coreset: lower every sample's distance to its centres, pick the farthest, cover by chosen centres.

Callers have checked every argument: float32, C-contiguous, finite. Rows are cut into fixed blocks; each block is one
thread's work, and blocks are compared in order, so the answer does not depend on how many threads there are.
"""

from cython.parallel cimport prange
from libc.math cimport INFINITY, sqrtf

from kernels._distances cimport winnow_squared_distance, winnow_squared_distance_below

cdef Py_ssize_t BLOCK = 4096  # rows
cdef enum:
    TILE = 8  # samples that meet a centre while it lies in the first cache


def lower(
    const float[:, ::1] vectors,  # IN    (n, d)
    const float[:, ::1] centres,  # IN    (p, d)
    float[::1] squared,           # INOUT (n,) to the nearest centre so far
    int n_threads,
):
    """Apply centres that are not samples: a pool."""
    cdef Py_ssize_t n = vectors.shape[0], i
    with nogil:
        for i in prange(n, num_threads=n_threads, schedule="static"):
            _lower_one(vectors, centres, i, &squared[i])


cdef void _lower_one(
    const float[:, ::1] vectors, const float[:, ::1] centres, Py_ssize_t i, float *squared
) noexcept nogil:
    cdef Py_ssize_t c
    cdef float distance
    for c in range(centres.shape[0]):
        distance = winnow_squared_distance_below(&vectors[i, 0], &centres[c, 0], vectors.shape[1], squared[0])
        if distance < squared[0]:
            squared[0] = distance


def pick(
    const float[:, ::1] vectors,  # IN    (n, d)
    float[::1] squared,           # INOUT (n,) to the nearest centre so far; -1 marks a sample already picked
    long long[::1] rank,          # INOUT (n,) of the pick that is the nearest centre so far
    Py_ssize_t first,             # IN    the next pick, or -1; found by the call before
    Py_ssize_t made,              # IN    picks made before
    Py_ssize_t count,             # IN    picks to have made at the end, at most
    double stop_at,               # IN    stop when the farthest sample is at most this far; < 0: never
    long long[::1] positions,     # OUT   (count,) filled from `made` on
    float[::1] insertion,         # OUT   (count,) squared
    float[::1] block_best,        # WORK  (blocks,)
    long long[::1] block_at,      # WORK  (blocks,)
    int n_threads,
):
    """Pick samples, farthest first. Returns (picks made in all, the next pick or -1)."""
    cdef Py_ssize_t blocks = block_best.shape[0], b
    cdef float best
    with nogil:
        while made < count and first >= 0 and not sqrtf(squared[first]) <= stop_at:
            positions[made] = first
            insertion[made] = squared[first]
            squared[first] = -1
            rank[first] = made
            for b in prange(blocks, num_threads=n_threads, schedule="static"):
                _lower_block(vectors, squared, rank, first, made, b, &block_best[b], &block_at[b])
            made += 1
            best = -1
            first = -1
            for b in range(blocks):  # in order, and only upwards: ties go to the lowest position
                if block_best[b] > best:
                    best = block_best[b]
                    first = block_at[b]
    return made, first


cdef void _lower_block(
    const float[:, ::1] vectors, float[::1] squared, long long[::1] rank,
    Py_ssize_t centre, Py_ssize_t centre_rank, Py_ssize_t block, float *best, long long *at,
) noexcept nogil:
    cdef Py_ssize_t i, end = min((block + 1) * BLOCK, vectors.shape[0])
    cdef float distance
    best[0] = -1
    at[0] = -1
    for i in range(block * BLOCK, end):
        if squared[i] > 0:
            distance = winnow_squared_distance_below(
                &vectors[i, 0], &vectors[centre, 0], vectors.shape[1], squared[i])
            if distance < squared[i]:
                squared[i] = distance
                rank[i] = centre_rank
        if squared[i] > best[0]:
            best[0] = squared[i]
            at[0] = i


def cover(
    const float[:, ::1] vectors,   # IN  (n, d)
    const long long[::1] samples,  # IN  (m,) positions
    const long long[::1] limits,   # IN  (m,) each sample meets that many of the centres, the first ones
    const long long[::1] centres,  # IN  (k,) positions in rank order
    Py_ssize_t start,              # IN  the slice of `samples` to do
    Py_ssize_t stop,
    float[::1] squared,            # OUT (m,)
    long long[::1] rank,           # OUT (m,) -1 where there is no centre to meet
    int n_threads,
):
    """The nearest centre of each sample; ties go to the lowest rank."""
    cdef Py_ssize_t tiles = (stop - start + TILE - 1) // TILE, t
    with nogil:
        for t in prange(tiles, num_threads=n_threads, schedule="dynamic"):
            _cover_tile(vectors, samples, limits, centres, start + t * TILE, min(start + (t + 1) * TILE, stop),
                        squared, rank)


cdef void _cover_tile(
    const float[:, ::1] vectors, const long long[::1] samples, const long long[::1] limits,
    const long long[::1] centres, Py_ssize_t start, Py_ssize_t stop, float[::1] squared, long long[::1] rank,
) noexcept nogil:
    cdef Py_ssize_t s, c, last = 0
    cdef float distance
    for s in range(start, stop):
        squared[s] = INFINITY
        rank[s] = 0 if limits[s] > 0 else -1
        last = max(last, limits[s])
    for c in range(last):
        for s in range(start, stop):
            if c < limits[s]:
                distance = winnow_squared_distance_below(
                    &vectors[samples[s], 0], &vectors[centres[c], 0], vectors.shape[1], squared[s])
                if distance < squared[s]:
                    squared[s] = distance
                    rank[s] = c


def add_rows(
    const float[:, ::1] vectors,  # IN    (n, d)
    Py_ssize_t start,             # IN    the slice of rows to add
    Py_ssize_t stop,
    double[::1] total,            # INOUT (d,)
):
    """Add row after row: one order, so one sum."""
    cdef Py_ssize_t i, j
    with nogil:
        for i in range(start, stop):
            for j in range(vectors.shape[1]):
                total[j] += vectors[i, j]


def squared_to(
    const float[:, ::1] vectors,  # IN  (n, d)
    const float[::1] point,       # IN  (d,)
    float[::1] squared,           # OUT (n,)
    int n_threads,
):
    """Every sample's squared distance to one point."""
    cdef Py_ssize_t n = vectors.shape[0], i
    with nogil:
        for i in prange(n, num_threads=n_threads, schedule="static"):
            squared[i] = winnow_squared_distance(&vectors[i, 0], &point[0], vectors.shape[1])
