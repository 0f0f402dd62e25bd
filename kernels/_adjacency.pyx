# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The loops of adjacency: nearest-neighbour lists of the living, and a heap of shortest edges.

Exact for the complete graph. Each sample keeps a list of its nearest living others. A list is complete up to its last
entry: whatever is not in it was no nearer when the list was made, and the dead only leave. Where a removal needs more
living entries than a list has, the caller has the short lists made anew.

Among others at one distance a list has those of larger position first, then those of smaller, each rising. The edge to
remove next, the least (distance, i, j) with i < j, is still always at the head of i's list: an equally near other
before i would make a lesser edge. And where thousands are equally near, each has its own successors in its list, not
all the same few, which would die together and empty every list at once.
"""

from libc.math cimport INFINITY, sqrtf
from libcpp.pair cimport pair
from libcpp.queue cimport priority_queue
from libcpp.vector cimport vector

import numpy as np

from kernels._neighbors cimport Index, find_all, int64_t

ctypedef pair[int, int] Ends
ctypedef pair[float, Ends] Edge  # (-squared, (-i, -j)), i < j: the heap's largest is the shortest, then lowest, edge

cdef enum:
    KEPT = 16      # entries of a list: with fewer, lists run short too often; with more, they take too much memory
    ENOUGH = 5     # living entries below which a list is made anew when any list has to be

FILLED, LONG_ENOUGH, SHORT_LIST = range(3)  # why remove() came back
cdef enum:
    _FILLED = 0
    _LONG_ENOUGH = 1
    _SHORT_LIST = 2


cdef class Graph:
    """The living samples of one run. They find each other through an index, which may be changed for a fresh one."""

    cdef Index index
    cdef Py_ssize_t alive_count
    cdef int n_threads
    cdef vector[char] alive
    cdef vector[int] living     # positions, rising; may still hold some dead, never lacks a living one
    cdef vector[int] entries    # of each sample's list
    cdef vector[int] other      # (n, KEPT) nearest first
    cdef vector[float] squared  # (n, KEPT)
    cdef priority_queue[Edge] edges

    def __cinit__(self, Py_ssize_t n, const int[::1] living, int n_threads):
        cdef Py_ssize_t at
        self.n_threads = n_threads
        self.alive_count = living.shape[0]
        self.alive.resize(n)  # not assign: Cython thinks that it cannot fail
        self.entries.resize(n)
        self.other.resize(n * KEPT)
        self.squared.resize(n * KEPT)
        for at in range(living.shape[0]):
            self.living.push_back(living[at])
            self.alive[living[at]] = 1

    def look_in(self, Index index):
        """From now on find neighbours among the members of this index: no fewer than the living."""
        cdef Py_ssize_t at
        self.index = index
        for at in range(self.alive.size()):
            if not self.alive[at] and index.buckets.slot_of(<int>at) >= 0:
                index.buckets.forget(<int>at)

    @property
    def alive_now(self):
        return self.alive_count

    def living_now(self):
        """Their positions, rising, as short_lists left them."""
        living = np.empty(self.living.size(), np.int32)
        cdef int[::1] written = living
        cdef Py_ssize_t at
        for at in range(written.shape[0]):
            written[at] = self.living[at]
        return living

    def short_lists(self):
        """The living samples whose lists hold too few of the living."""
        short = np.empty(self.living.size(), np.int32)
        cdef int[::1] rows = short
        cdef Py_ssize_t found = 0, kept = 0, at
        cdef int i
        with nogil:
            for at in range(<Py_ssize_t>self.living.size()):
                i = self.living[at]
                if self.alive[i]:
                    self.living[kept] = i
                    kept += 1
                    if self._bury(i) < ENOUGH:
                        rows[found] = i
                        found += 1
            self.living.resize(kept)
        return short[:found]

    def link(self, const int[::1] rows, const int64_t[::1] groups, int64_t start, int64_t stop):
        """Make the lists of groups start to stop of the rows anew."""
        if start < stop:
            with nogil:
                find_all(self.index.buckets[0], &rows[0], &rows[0], &rows[0], &groups[0], start, stop, KEPT, True,
                         self.other.data(), self.squared.data(), self.entries.data(), self.n_threads)

    def offer_all(self):
        """Put the shortest edge of every living sample on the heap; once, when all lists are made."""
        cdef Py_ssize_t at
        with nogil:
            for at in range(<Py_ssize_t>self.living.size()):
                self._offer(self.living[at])

    def any_at_zero(self):
        """Whether any list begins at distance zero."""
        cdef Py_ssize_t at
        for at in range(<Py_ssize_t>self.living.size()):
            if self.entries[self.living[at]] and self.squared[self.living[at] * <Py_ssize_t>KEPT] == 0:
                return True
        return False

    def remove(
        self,
        Py_ssize_t made,         # IN  removals made before
        Py_ssize_t count,        # IN  removals to have made at the end, at most
        double until,            # IN  stop when the shortest edge is at least this long; inf: never
        long long[::1] removed,  # OUT (count,) filled from `made` on
        long long[::1] partner,  # OUT (count,)
        float[::1] edge,         # OUT (count,) squared
    ):
        """Remove one end of the shortest edge, again and again. Returns (removals made in all, why it came back)."""
        cdef int why = _FILLED, i, j, loser
        cdef float squared
        with nogil:
            while made < count:
                squared = -self.edges.top().first
                i = -self.edges.top().second.first
                j = -self.edges.top().second.second
                if not (self.alive[i] and self.alive[j]):
                    if not self._replace(i, j):
                        why = _SHORT_LIST
                        break
                    continue
                if until < INFINITY and sqrtf(squared) >= until:
                    why = _LONG_ENOUGH
                    break
                if not (self._has(i, 2) and self._has(j, 2)):
                    why = _SHORT_LIST
                    break
                self.edges.pop()
                loser = self._redundant(i, j)
                removed[made] = loser
                partner[made] = i + j - loser
                edge[made] = squared
                made += 1
                self.alive[loser] = 0
                self.alive_count -= 1
                self.index.buckets.forget(loser)
                self._offer(i + j - loser)
        return made, why

    cdef int _bury(self, int i) noexcept nogil:
        """Drop the dead from i's list; how many are left."""
        cdef Py_ssize_t row = i * <Py_ssize_t>KEPT, at
        cdef int kept = 0
        for at in range(row, row + self.entries[i]):
            if self.alive[self.other[at]]:
                self.other[row + kept] = self.other[at]
                self.squared[row + kept] = self.squared[at]
                kept += 1
        self.entries[i] = kept
        return kept

    cdef int _replace(self, int i, int j) except -1 nogil:
        """A dead edge came up: the end that still lives, if any, offers its next. False where its list is too short."""
        cdef int survivor = i if self.alive[i] else j
        if not self.alive[survivor]:
            self.edges.pop()
            return True
        if not self._has(survivor, 1):
            return False
        self.edges.pop()
        self._offer(survivor)
        return True

    cdef bint _has(self, int i, int wanted) noexcept nogil:
        """Whether i's list still names its nearest living others, as many as wanted or as there are."""
        return self._living(i, <int>min(<Py_ssize_t>wanted, self.alive_count - 1) - 1) != -1

    cdef int _offer(self, int i) except -1 nogil:
        """Put the shortest edge of a living sample on the heap; twice does no harm."""
        cdef Py_ssize_t at = self._living(i, 0)
        cdef Edge edge
        if at >= 0:
            edge.first = -self.squared[at]
            edge.second.first = -min(i, self.other[at])
            edge.second.second = -max(i, self.other[at])
            self.edges.push(edge)
        return 0

    cdef int _redundant(self, int i, int j) noexcept nogil:
        """The end whose next neighbour, the partner aside, is closer; on a tie the larger position."""
        return i if self._second(i) < self._second(j) else j

    cdef float _second(self, int i) noexcept nogil:
        # The edge is the shortest of all, so no entry is nearer than the partner: whichever entry the partner is (on
        # a tie it may even be outside the list), the second has the distance of the nearest one beside it.
        cdef Py_ssize_t at = self._living(i, 1)
        return self.squared[at] if at >= 0 else INFINITY

    cdef Py_ssize_t _living(self, int i, int skip) noexcept nogil:
        """Where i's nearest living other stands (skip=0), or the next (skip=1); -1: not listed; -2: skip < 0."""
        cdef Py_ssize_t at, row = i * <Py_ssize_t>KEPT
        if skip < 0:
            return -2
        for at in range(row, row + self.entries[i]):
            if self.alive[self.other[at]]:
                if skip == 0:
                    return at
                skip -= 1
        return -1
