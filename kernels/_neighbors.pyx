# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The loop of nearest neighbours: samples in tiles meet all the others in chunks, and keep the nearest."""

from cython.parallel cimport prange
from libc.math cimport INFINITY

from kernels._distances cimport winnow_squared_distance, winnow_squared_distance_below

cdef enum:
    TILE = 8    # samples that meet the others together, while these lie in the first cache
    CHUNK = 64  # of the others


def nearest(
    const float[:, ::1] vectors,  # IN  (n, d)
    const long long[::1] rows,    # IN  (m,) samples asked for
    Py_ssize_t start,             # IN  those at start to stop, now
    Py_ssize_t stop,
    int[:, ::1] other,            # OUT (m, k), k < n: nearest first, then lowest
    float[:, ::1] squared,        # OUT (m, k)
    int n_threads,
):
    cdef Py_ssize_t size = min(<Py_ssize_t>TILE, (stop - start + n_threads - 1) // n_threads)
    cdef Py_ssize_t tiles = (stop - start + size - 1) // size, t
    for t in prange(tiles, num_threads=n_threads, schedule="dynamic", nogil=True):
        _tile(vectors, rows, start + t * size, min(start + (t + 1) * size, stop), other, squared)


def distances(
    const float[:, ::1] vectors,   # IN  (n, d)
    const long long[::1] rows,     # IN  (m,)
    const long long[:, ::1] other, # IN  (m, k) positions; negative: nobody
    float[:, ::1] squared,         # OUT (m, k) inf to nobody
    int n_threads,
):
    """How far each row is from each of its others."""
    cdef Py_ssize_t at, place
    for at in prange(rows.shape[0], num_threads=n_threads, nogil=True):
        for place in range(other.shape[1]):
            squared[at, place] = INFINITY if other[at, place] < 0 else winnow_squared_distance(
                &vectors[rows[at], 0], &vectors[other[at, place], 0], vectors.shape[1])


cdef void _tile(
    const float[:, ::1] vectors, const long long[::1] rows, Py_ssize_t start, Py_ssize_t stop,
    int[:, ::1] other, float[:, ::1] squared,
) noexcept nogil:
    cdef Py_ssize_t n = vectors.shape[0], chunk, at
    for at in range(start, stop):
        squared[at, :] = INFINITY
        other[at, :] = -1
    for chunk in range((n + CHUNK - 1) // CHUNK):
        for at in range(start, stop):
            _meet(vectors, rows[at], chunk * CHUNK, min((chunk + 1) * CHUNK, n), at, other, squared)


cdef void _meet(
    const float[:, ::1] vectors, Py_ssize_t i, Py_ssize_t first, Py_ssize_t end,
    Py_ssize_t at, int[:, ::1] other, float[:, ::1] squared,
) noexcept nogil:
    """Show i some others, in rising position, so that ties go to the lower."""
    cdef Py_ssize_t last = other.shape[1] - 1, j
    cdef float distance
    for j in range(first, end):
        if j == i:
            continue
        distance = winnow_squared_distance_below(&vectors[i, 0], &vectors[j, 0], vectors.shape[1], squared[at, last])
        if distance < squared[at, last] or other[at, last] < 0:
            _insert(at, <int>j, distance, other, squared)


cdef void _insert(Py_ssize_t i, int j, float distance, int[:, ::1] other, float[:, ::1] squared) noexcept nogil:
    """One step of an insertion sort; the last falls out. An empty place counts as farther than anything."""
    cdef Py_ssize_t at = other.shape[1] - 1
    while at > 0 and (squared[i, at - 1] > distance or other[i, at - 1] < 0):
        squared[i, at] = squared[i, at - 1]
        other[i, at] = other[i, at - 1]
        at -= 1
    squared[i, at] = distance
    other[i, at] = j
