# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The index of nearest neighbours, as `_alive.hpp` has it, over numpy's memory and without the interpreter's lock."""

from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

import numpy as np

from kernels._distances cimport winnow_squared_distance


cdef class Index:
    """Some members of the vectors, to be asked for their nearest. First `split` until done, `lay_out`, `fill` all."""

    def __cinit__(self, const float[:, ::1] vectors, const int[::1] members, int level):
        cdef vector[int] all
        if members.shape[0]:
            all.resize(members.shape[0])  # not assign: Cython thinks that it cannot fail
            memcpy(all.data(), &members[0], members.shape[0] * sizeof(int))
        self.vectors = vectors  # kept, as the buckets point into them
        self.size = members.shape[0]
        self.buckets = new Buckets(&vectors[0, 0], vectors.shape[0], vectors.shape[1], all, level)

    def __dealloc__(self):
        del self.buckets

    def split(self, int n_threads):
        """Go on with the cutting, for one level of the tree. Whether there is more to do."""
        cdef bool more
        with nogil:
            more = self.buckets.split(n_threads)
        return more

    def lay_out(self):
        """How many buckets there are to be filled."""
        return self.buckets.lay_out()

    def fill(self, int64_t start, int64_t stop, int n_threads):
        with nogil:
            self.buckets.fill(start, stop, n_threads)

    def sorted(self, const int[::1] rows):
        """How to order members so that those of one bucket follow each other."""
        slots = np.empty(rows.shape[0], np.int64)
        cdef int64_t[::1] written = slots
        cdef Py_ssize_t at
        for at in range(rows.shape[0]):
            written[at] = self.buckets.slot_of(rows[at])
        return np.argsort(slots)

    def homes(self, const int[::1] rows, int n_threads):
        """For samples that may be no members: a member near each, to begin the search with."""
        found = np.empty(rows.shape[0], np.int32)
        cdef int[::1] written = found
        cdef int64_t count = rows.shape[0]
        if count:
            with nogil:
                homes_of(self.buckets[0], &rows[0], count, n_threads, &written[0])
        return found

    def groups(self, const int[::1] rows):
        """Where to cut members in that order into groups to be asked together: (groups + 1,)."""
        return np.array(self.buckets.groups(&rows[0], rows.shape[0]), np.int64)


def nearest(
    Index index,
    const int[::1] rows,        # IN  (m,) samples, sorted by their homes
    const int[::1] homes,       # IN  (m,) a member near each; itself, where it is one
    const int[::1] places,      # IN  (m,) where their lists go
    const int64_t[::1] groups,  # IN  (g + 1,) where the rows of each group start
    int64_t start,              # IN  groups start to stop are asked for
    int64_t stop,
    int[:, ::1] other,          # OUT (places, k) nearest first, then lowest; -1 where there are fewer
    float[:, ::1] squared,      # OUT (places, k)
    int n_threads,
):
    cdef int[::1] found = np.empty(other.shape[0], np.int32)
    cdef int k = <int>other.shape[1]
    if start < stop:
        with nogil:
            find_all(index.buckets[0], &rows[0], &places[0], &homes[0], &groups[0], start, stop, k, False, &other[0, 0],
                     &squared[0, 0], &found[0], n_threads)


def digests(const float[:, ::1] vectors, uint64_t[::1] digest):
    """Write a number for each vector to `digest` (n,): equal for equal vectors, different for most others."""
    cdef Py_ssize_t i, j
    cdef uint64_t sum
    cdef uint32_t bits
    cdef float value
    with nogil:
        for i in range(vectors.shape[0]):
            sum = 0
            for j in range(vectors.shape[1]):
                value = vectors[i, j] + <float>0.0  # -0.0 becomes 0.0
                memcpy(&bits, &value, sizeof(bits))
                sum = (sum ^ bits) * <uint64_t>0x9E3779B97F4A7C15
                sum ^= sum >> 29
            digest[i] = sum


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
