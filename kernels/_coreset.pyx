# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The loops of the coreset: lower every sample's distance to its centres, find the farthest, cover by chosen centres.

Callers have checked every argument: float32, C-contiguous, finite. Rows are cut into fixed blocks; each block is one
thread's work, and blocks are compared in order, so the answer does not depend on how many threads there are.
"""

from cython.parallel cimport prange
from libc.math cimport INFINITY

from kernels._distances cimport winnow_squared_distance

cdef Py_ssize_t BLOCK = 4096


def lower(
    const float[:, ::1] vectors,  # IN  (n, d)
    const float[:, ::1] centres,  # IN  (p, d)
    float[::1] squared,           # INOUT (n,) to the nearest centre so far; -1 marks a sample already picked
    int n_threads,
):
    """Apply centres that are not samples: a pool."""
    cdef Py_ssize_t n = vectors.shape[0], width = vectors.shape[1], i, c
    cdef float distance
    with nogil:
        for i in prange(n, num_threads=n_threads, schedule="static"):
            for c in range(centres.shape[0]):
                distance = winnow_squared_distance(&vectors[i, 0], &centres[c, 0], width)
                if distance < squared[i]:
                    squared[i] = distance


def pick(
    const float[:, ::1] vectors,  # IN  (n, d)
    float[::1] squared,           # INOUT (n,)
    Py_ssize_t first,             # IN  the next pick; found by the call before
    Py_ssize_t count,             # IN  how many picks at most
    float stop_at,                # IN  stop when the farthest sample is at most this far, squared; < 0: never
    long long[::1] positions,     # OUT (count,)
    float[::1] insertion,         # OUT (count,) squared
    float[::1] block_best,        # WORK (blocks,)
    long long[::1] block_at,      # WORK (blocks,)
    int n_threads,
):
    """Pick up to `count` samples, farthest first. Returns (picks made, the next pick or -1)."""
    cdef Py_ssize_t n = vectors.shape[0], width = vectors.shape[1], blocks = block_best.shape[0]
    cdef Py_ssize_t made = 0, b, i
    cdef float best
    with nogil:
        while made < count and first >= 0:
            if made > 0 and stop_at >= 0 and squared[first] <= stop_at:
                break
            positions[made] = first
            insertion[made] = squared[first]
            squared[first] = -1
            made += 1
            for b in prange(blocks, num_threads=n_threads, schedule="static"):
                _lower_block(vectors, squared, first, width, b, &block_best[b], &block_at[b])
            best = -1
            first = -1
            for b in range(blocks):  # in order, and only upwards: ties go to the lowest position
                if block_best[b] > best:
                    best = block_best[b]
                    first = block_at[b]
    return made, first


cdef void _lower_block(
    const float[:, ::1] vectors, float[::1] squared, Py_ssize_t centre, Py_ssize_t width, Py_ssize_t block,
    float *best, long long *at,
) noexcept nogil:
    cdef Py_ssize_t i, end = min((block + 1) * BLOCK, vectors.shape[0])
    cdef float distance
    best[0] = -1
    at[0] = -1
    for i in range(block * BLOCK, end):
        if squared[i] > 0:
            distance = winnow_squared_distance(&vectors[i, 0], &vectors[centre, 0], width)
            if distance < squared[i]:
                squared[i] = distance
        if squared[i] > best[0]:
            best[0] = squared[i]
            at[0] = i


def farthest(const float[::1] squared):
    """The lowest position of the largest value, or -1 where nothing is left."""
    cdef Py_ssize_t i, at = -1
    cdef float best = -1
    for i in range(squared.shape[0]):
        if squared[i] > best:
            best = squared[i]
            at = i
    return at


def cover(
    const float[:, ::1] vectors,     # IN  (n, d)
    const long long[::1] centres,    # IN  (k,) positions in rank order
    Py_ssize_t start,                # IN  the slice of samples to do
    Py_ssize_t stop,
    long long[::1] nearest,          # OUT (n,)
    float[::1] squared,              # OUT (n,)
    long long[::1] rank,             # OUT (n,)
    int n_threads,
):
    """The nearest centre of each sample; ties go to the lowest rank."""
    cdef Py_ssize_t width = vectors.shape[1], i
    with nogil:
        for i in prange(start, stop, num_threads=n_threads, schedule="static"):
            _cover_one(vectors, centres, width, i, &nearest[i], &squared[i], &rank[i])


cdef void _cover_one(
    const float[:, ::1] vectors, const long long[::1] centres, Py_ssize_t width, Py_ssize_t i,
    long long *nearest, float *squared, long long *rank,
) noexcept nogil:
    cdef Py_ssize_t c
    cdef float distance, best = INFINITY
    cdef Py_ssize_t at = 0
    for c in range(centres.shape[0]):
        distance = winnow_squared_distance(&vectors[i, 0], &vectors[centres[c], 0], width)
        if distance < best:
            best = distance
            at = c
    nearest[0] = centres[at]
    squared[0] = best
    rank[0] = at


def squared_to(
    const float[:, ::1] vectors,  # IN  (n, d)
    const float[::1] point,       # IN  (d,)
    float[::1] squared,           # OUT (n,)
    int n_threads,
):
    """Every sample's squared distance to one point."""
    cdef Py_ssize_t n = vectors.shape[0], width = vectors.shape[1], i
    with nogil:
        for i in prange(n, num_threads=n_threads, schedule="static"):
            squared[i] = winnow_squared_distance(&vectors[i, 0], &point[0], width)
