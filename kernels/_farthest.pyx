# cython: language_level=3
"""Greedy k-center over buckets, as an object that can be stopped and asked for more; the loops are in _farthest.hpp."""

from libc.stdint cimport int32_t, int64_t
from libcpp.vector cimport vector

import numpy as np

cdef extern from "_farthest.hpp" namespace "winnow" nogil:
    int widest_level()
    int FILLED, COVERED, PAUSED

    cdef cppclass Watcher:
        int (*look)(void *) except -1 with gil
        void *context

    cdef cppclass _Farthest "winnow::Farthest":
        vector[int32_t] positions
        vector[float] insertion
        _Farthest(const float *vectors, int64_t n, int dimension, int level, int threads, Watcher watch, int scratch) except +
        void add_pool(const float *row) except +
        void pick(int64_t position, float squared) except +
        int run(int64_t count, double stop_at, double seconds) except +
        int finish(double seconds) except +
        void cover(float *squared, int64_t *rank)
        float squared_of(int64_t position)
        int64_t bytes()


def widest() -> int:
    """The best instruction set of this machine: 2 AVX-512 with VNNI, 1 AVX2, 0 any."""
    return widest_level()


cdef int _look(void *between_slices) except -1 with gil:
    (<object> between_slices)()
    return 0


cdef class Farthest:
    """The caller has checked every argument; `vectors` is only read while it is made.

    Meanwhile `between_slices()` is called; what it raises ends the work. `scratch` is a file for a copy of the vectors,
    which may be closed then; -1: they are copied into memory.
    """

    cdef _Farthest *_run
    cdef Py_ssize_t _n

    def __cinit__(self, const float[:, ::1] vectors, int level, int n_threads, between_slices, int scratch=-1):
        cdef Py_ssize_t n = vectors.shape[0], width = vectors.shape[1]
        cdef Watcher watch
        watch.look = _look
        watch.context = <void *> between_slices
        with nogil:
            self._run = new _Farthest(&vectors[0, 0], n, <int>width, level, n_threads, watch, scratch)
        self._n = n

    def __dealloc__(self):
        del self._run

    def add_pool(self, const float[:, ::1] rows):
        """Centres that are no samples; before the first pick."""
        cdef Py_ssize_t i
        for i in range(rows.shape[0]):
            self._run.add_pool(&rows[i, 0])

    def pick(self, int64_t position, float squared):
        self._run.pick(position, squared)

    def run(self, int64_t count, double stop_at, double seconds) -> bool:
        """Whether it came to an end: `count` picks, or nothing farther than `stop_at`; else ask again."""
        cdef int status
        with nogil:
            status = self._run.run(count, stop_at, seconds)
        return status != PAUSED

    def finish(self, double seconds) -> bool:
        """Bring every distance up to date; False where the time did not suffice."""
        cdef int done
        with nogil:
            done = self._run.finish(seconds)
        return done != 0

    def made(self) -> int:
        return self._run.positions.size()

    def positions(self):
        cdef int64_t made = self._run.positions.size()
        return np.asarray(<int32_t[:made]> self._run.positions.data(), np.int64) if made else np.empty(0, np.int64)

    def insertion(self):
        """Squared, (made,)."""
        cdef int64_t made = self._run.insertion.size()
        return np.array(<float[:made]> self._run.insertion.data()) if made else np.empty(0, np.float32)

    def squared_of(self, int64_t position) -> float:
        return self._run.squared_of(position)

    def cover(self):
        """After `finish`: squared distance and rank of every sample's nearest centre."""
        squared, rank = np.empty(self._n, np.float32), np.empty(self._n, np.int64)
        cdef float[::1] to_squared = squared
        cdef int64_t[::1] to_rank = rank
        self._run.cover(&to_squared[0], &to_rank[0])
        return squared, rank

    def bytes(self) -> int:
        return self._run.bytes()
