# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The loops of adjacency: nearest-neighbour lists of the living, and a heap of shortest edges.

Exact for the complete graph. Each sample keeps a sorted list of its nearest living others; the list is complete up to
its last entry, because every sample outside it was farther when the list was made, and the dead only leave. When
fewer than two entries of a list still live, the list is made anew.
"""

from cython.parallel cimport prange
from libc.math cimport INFINITY
from libcpp.pair cimport pair
from libcpp.queue cimport priority_queue
from libcpp.vector cimport vector

from kernels._distances cimport winnow_squared_distance

ctypedef pair[long long, long long] Ends
ctypedef pair[float, Ends] Edge  # (-squared, (-i, -j)): the heap's largest is the shortest edge, then the lowest ends

cdef Py_ssize_t KEPT = 24  # entries of a list


cdef class Graph:
    """The living samples of one run."""

    cdef const float[:, ::1] vectors
    cdef Py_ssize_t n, width, alive_count
    cdef int n_threads
    cdef vector[char] alive
    cdef vector[int] entries       # of each sample's list
    cdef vector[int] head          # the first entry that may still live
    cdef vector[long long] other   # (n, KEPT) nearest first
    cdef vector[float] squared     # (n, KEPT)
    cdef priority_queue[Edge] edges

    def __cinit__(self, const float[:, ::1] vectors, int n_threads):
        self.vectors = vectors
        self.n = vectors.shape[0]
        self.width = vectors.shape[1]
        self.n_threads = n_threads
        self.alive_count = self.n
        self.alive.assign(self.n, 1)
        self.entries.assign(self.n, 0)
        self.head.assign(self.n, 0)
        self.other.assign(self.n * KEPT, -1)
        self.squared.assign(self.n * KEPT, 0)

    def link(self, Py_ssize_t start, Py_ssize_t stop):
        """Make the lists of samples start..stop and put their shortest edges on the heap."""
        cdef Py_ssize_t i
        with nogil:
            for i in prange(start, stop, num_threads=self.n_threads, schedule="dynamic", chunksize=16):
                self._list(i)
            for i in range(start, stop):
                self._offer(i)

    def remove(
        self,
        Py_ssize_t count,        # IN  how many removals at most
        float until,             # IN  stop when the shortest edge is at least this long, squared; inf: never
        long long[::1] removed,  # OUT (count,)
        long long[::1] partner,  # OUT (count,)
        float[::1] edge,         # OUT (count,) squared
    ):
        """Remove one end of the shortest edge, up to `count` times; returns how many were removed."""
        cdef Py_ssize_t made = 0
        cdef long long i, j, loser
        cdef float squared
        with nogil:
            while made < count and self.alive_count > 1 and not self.edges.empty():
                squared = -self.edges.top().first
                i = -self.edges.top().second.first
                j = -self.edges.top().second.second
                if not (self.alive[i] and self.alive[j]):
                    self.edges.pop()
                    self._replace(i, j)
                    continue
                if squared >= until:
                    break
                self.edges.pop()
                loser = self._redundant(i, j)
                removed[made] = loser
                partner[made] = i + j - loser
                edge[made] = squared
                made += 1
                self.alive[loser] = 0
                self.alive_count -= 1
                self._offer(i + j - loser)
        return made

    cdef void _replace(self, long long i, long long j) noexcept nogil:
        """A dead edge came up: whichever end still lives offers its next."""
        if self.alive[i]:
            self._offer(i)
        if self.alive[j]:
            self._offer(j)

    cdef void _offer(self, long long i) noexcept nogil:
        """Put the shortest edge of a living sample on the heap; twice does no harm."""
        cdef Py_ssize_t at = self._living(i, 0)
        cdef Edge edge
        cdef long long j
        if at < 0:
            return
        j = self.other[i * KEPT + at]
        edge.first = -self.squared[i * KEPT + at]
        edge.second.first = -min(i, j)
        edge.second.second = -max(i, j)
        self.edges.push(edge)

    cdef long long _redundant(self, long long i, long long j) noexcept nogil:
        """The end whose next neighbour, the partner aside, is closer; on a tie the larger position."""
        cdef float next_i = self._second(i), next_j = self._second(j)
        return i if next_i < next_j else j

    cdef float _second(self, long long i) noexcept nogil:
        # The partner is i's nearest, or as near as it: either way the second entry has the distance asked for.
        cdef Py_ssize_t at = self._living(i, 1)
        return self.squared[i * KEPT + at] if at >= 0 else INFINITY

    cdef Py_ssize_t _living(self, long long i, int skip) noexcept nogil:
        """Where in i's list its nearest living other stands (skip=0), or the one after (skip=1); -1: there is none."""
        cdef Py_ssize_t at = self._seek(i, skip)
        if at < 0 and self.alive_count - 1 > skip:
            self._list(i)
            at = self._seek(i, skip)
        return at

    cdef Py_ssize_t _seek(self, long long i, int skip) noexcept nogil:
        cdef Py_ssize_t at
        cdef int seen = 0
        while self.head[i] < self.entries[i] and not self.alive[self.other[i * KEPT + self.head[i]]]:
            self.head[i] += 1
        for at in range(self.head[i], self.entries[i]):
            if self.alive[self.other[i * KEPT + at]]:
                if seen == skip:
                    return at
                seen += 1
        return -1

    cdef void _list(self, long long i) noexcept nogil:
        """The KEPT nearest living others of i, by distance and then position: an insertion sort into its row."""
        cdef Py_ssize_t j, at, row = i * KEPT
        cdef int count = 0
        cdef float distance
        for j in range(self.n):
            if j == i or not self.alive[j]:
                continue
            distance = winnow_squared_distance(&self.vectors[i, 0], &self.vectors[j, 0], self.width)
            if count == KEPT and distance >= self.squared[row + KEPT - 1]:
                continue
            at = count if count < KEPT else KEPT - 1
            count = min(count + 1, <int>KEPT)
            while at > 0 and self.squared[row + at - 1] > distance:
                self.squared[row + at] = self.squared[row + at - 1]
                self.other[row + at] = self.other[row + at - 1]
                at -= 1
            self.squared[row + at] = distance
            self.other[row + at] = j
        self.entries[i] = count
        self.head[i] = 0
