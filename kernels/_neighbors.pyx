# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The loop of nearest neighbours: samples in tiles meet all the others in chunks, and keep the nearest."""

from cython.parallel cimport prange
from libc.math cimport INFINITY

from kernels._distances cimport winnow_squared_distance_below

cdef enum:
    TILE = 8    # samples that meet the others together, while these lie in the first cache
    CHUNK = 64  # of the others


def nearest(
    const float[:, ::1] vectors,  # IN  (n, d)
    Py_ssize_t start,             # IN  samples start to stop are asked for
    Py_ssize_t stop,
    int[:, ::1] other,            # OUT (n, k), k < n: nearest first, then lowest
    float[:, ::1] squared,        # OUT (n, k)
    int n_threads,
):
    cdef Py_ssize_t size = min(<Py_ssize_t>TILE, (stop - start + n_threads - 1) // n_threads)
    cdef Py_ssize_t tiles = (stop - start + size - 1) // size, t
    for t in prange(tiles, num_threads=n_threads, schedule="dynamic", nogil=True):
        _tile(vectors, start + t * size, min(start + (t + 1) * size, stop), other, squared)


cdef void _tile(
    const float[:, ::1] vectors, Py_ssize_t start, Py_ssize_t stop, int[:, ::1] other, float[:, ::1] squared
) noexcept nogil:
    cdef Py_ssize_t n = vectors.shape[0], chunk, i
    for i in range(start, stop):
        squared[i, :] = INFINITY
        other[i, :] = -1
    for chunk in range((n + CHUNK - 1) // CHUNK):
        for i in range(start, stop):
            _meet(vectors, i, chunk * CHUNK, min((chunk + 1) * CHUNK, n), other, squared)


cdef void _meet(
    const float[:, ::1] vectors, Py_ssize_t i, Py_ssize_t first, Py_ssize_t end, int[:, ::1] other, float[:, ::1] squared
) noexcept nogil:
    """Show i some others, in rising position, so that ties go to the lower."""
    cdef Py_ssize_t last = other.shape[1] - 1, j
    cdef float distance
    for j in range(first, end):
        if j == i:
            continue
        distance = winnow_squared_distance_below(&vectors[i, 0], &vectors[j, 0], vectors.shape[1], squared[i, last])
        if distance < squared[i, last] or other[i, last] < 0:
            _insert(i, <int>j, distance, other, squared)


cdef void _insert(Py_ssize_t i, int j, float distance, int[:, ::1] other, float[:, ::1] squared) noexcept nogil:
    """One step of an insertion sort; the last falls out. An empty place counts as farther than anything."""
    cdef Py_ssize_t at = other.shape[1] - 1
    while at > 0 and (squared[i, at - 1] > distance or other[i, at - 1] < 0):
        squared[i, at] = squared[i, at - 1]
        other[i, at] = other[i, at - 1]
        at -= 1
    squared[i, at] = distance
    other[i, at] = j
