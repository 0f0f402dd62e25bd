"""The index of nearest neighbours, for other loops to share."""

from libc.stdint cimport int64_t
from libcpp cimport bool
from libcpp.vector cimport vector

cdef extern from "_alive.hpp" namespace "winnow::alive" nogil:
    cdef cppclass Buckets:
        Buckets(const float *vectors, int64_t total, int64_t width, vector[int] members, int level)
        bool split(int threads)
        int64_t lay_out()
        void fill(int64_t bucket)
        void forget(int position)
        int64_t slot_of(int position)
        int64_t size()
        int home_of(int sample)
        vector[int64_t] groups(const int *queries, int64_t count)

    void find(
        const Buckets &index, const int *queries, const int *places, int64_t count, int home, int k, bool onward,
        int *other, float *squared, int *entries,
    )


cdef class Index:
    cdef Buckets *buckets
    cdef object vectors
    cdef readonly int64_t size
