"""The index of nearest neighbours, for other loops to share."""

from libc.stdint cimport int64_t
from libcpp cimport bool
from libcpp.vector cimport vector

cdef extern from "_alive.hpp" namespace "winnow::alive" nogil:
    cdef cppclass Buckets:
        Buckets(const float *vectors, int64_t total, int64_t width, vector[int] members, int level) except +
        bool split(int threads) except +
        int64_t lay_out() except +
        void fill(int64_t start, int64_t stop, int threads) except +
        void forget(int position)
        int64_t slot_of(int position)
        int64_t size()
        vector[int64_t] groups(const int *queries, int64_t count) except +

    void homes_of(const Buckets &index, const int *samples, int64_t count, int threads, int *homes) except +
    void find_all(
        const Buckets &index, const int *queries, const int *places, const int *homes, const int64_t *groups,
        int64_t start, int64_t stop, int k, bool onward, int *other, float *squared, int *entries, int threads,
    ) except +


cdef class Index:
    cdef Buckets *buckets
    cdef object vectors
    cdef readonly int64_t size
