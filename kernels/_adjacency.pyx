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

from cython.parallel cimport prange
from libc.math cimport INFINITY, sqrtf
from libcpp.algorithm cimport lower_bound
from libcpp.pair cimport pair
from libcpp.queue cimport priority_queue
from libcpp.vector cimport vector

from kernels._distances cimport winnow_squared_distance_below

ctypedef pair[int, int] Ends
ctypedef pair[float, Ends] Edge  # (-squared, (-i, -j)), i < j: the heap's largest is the shortest, then lowest, edge

cdef enum:
    KEPT = 16      # entries of a list: with fewer, lists run short too often; with more, they take too much memory
    ENOUGH = 5     # living entries below which a list is made anew when any list has to be
    TILE = 8       # samples that meet the others together, while these lie in the first cache
    CHUNK = 64     # of the others

FILLED, LONG_ENOUGH, SHORT_LIST = range(3)  # why remove() came back
cdef enum:
    _FILLED = 0
    _LONG_ENOUGH = 1
    _SHORT_LIST = 2


cdef class Graph:
    """The living samples of one run."""

    cdef const float[:, ::1] vectors
    cdef Py_ssize_t alive_count
    cdef int n_threads
    cdef vector[char] alive
    cdef vector[int] living     # positions, rising; may still hold some dead, never lacks a living one
    cdef vector[int] entries    # of each sample's list
    cdef vector[int] other      # (n, KEPT) nearest first
    cdef vector[float] squared  # (n, KEPT)
    cdef priority_queue[Edge] edges

    def __cinit__(self, const float[:, ::1] vectors, int n_threads):
        cdef Py_ssize_t n = vectors.shape[0], i
        self.vectors = vectors
        self.n_threads = n_threads
        self.alive_count = n
        self.alive.assign(n, 1)
        self.entries.assign(n, 0)
        self.other.assign(n * KEPT, -1)
        self.squared.assign(n * KEPT, 0)
        for i in range(n):
            self.living.push_back(<int>i)

    @property
    def alive_now(self):
        return self.alive_count

    def short_lists(self, int[::1] rows):
        """Write the living samples whose lists hold too few of the living to `rows` (n,); returns how many."""
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
        return found

    def link(self, const int[::1] rows, Py_ssize_t start, Py_ssize_t stop):
        """Make the lists of samples rows[start:stop] anew."""
        cdef Py_ssize_t size = min(<Py_ssize_t>TILE, (stop - start + self.n_threads - 1) // self.n_threads)
        cdef Py_ssize_t tiles = (stop - start + size - 1) // size, t
        with nogil:
            for t in prange(tiles, num_threads=self.n_threads, schedule="dynamic"):
                self._link_tile(rows, start + t * size, min(start + (t + 1) * size, stop))

    def offer_all(self):
        """Put the shortest edge of every sample on the heap; once, when all lists are made."""
        cdef Py_ssize_t i
        for i in range(self.vectors.shape[0]):
            self._offer(<int>i)

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

    cdef bint _replace(self, int i, int j) noexcept nogil:
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

    cdef void _offer(self, int i) noexcept nogil:
        """Put the shortest edge of a living sample on the heap; twice does no harm."""
        cdef Py_ssize_t at = self._living(i, 0)
        cdef Edge edge
        if at >= 0:
            edge.first = -self.squared[at]
            edge.second.first = -min(i, self.other[at])
            edge.second.second = -max(i, self.other[at])
            self.edges.push(edge)

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

    cdef void _link_tile(self, const int[::1] rows, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
        """Rows rise, so a tile's rows lie between its first and its last."""
        cdef Py_ssize_t chunks = (<Py_ssize_t>self.living.size() + CHUNK - 1) // CHUNK, r
        for r in range(start, stop):
            self.entries[rows[r]] = 0
        self._sweep(rows, start, stop, self._chunk_of(rows[start]), chunks, True)
        self._sweep(rows, start, stop, 0, self._chunk_of(rows[stop - 1]) + 1, False)

    cdef Py_ssize_t _chunk_of(self, int i) noexcept nogil:
        return (lower_bound(self.living.begin(), self.living.end(), i) - self.living.begin()) // CHUNK

    cdef void _sweep(
        self, const int[::1] rows, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t chunk, Py_ssize_t end, bint larger,
    ) noexcept nogil:
        """Show the rows of a tile the others of larger position, or of smaller, chunk by chunk."""
        cdef bint wanting = True
        cdef Py_ssize_t r
        while wanting and chunk < end:
            wanting = False
            for r in range(start, stop):
                if self._meet(rows[r], chunk, larger):
                    wanting = True
            chunk += 1

    cdef bint _meet(self, int i, Py_ssize_t chunk, bint larger) noexcept nogil:
        """Show i a chunk of the living; in rising position, so ties go to the lower. Whether any other could matter."""
        cdef Py_ssize_t at, last = i * <Py_ssize_t>KEPT + KEPT - 1
        cdef int j
        cdef float distance, limit = self.squared[last] if self.entries[i] == KEPT else INFINITY
        for at in range(chunk * CHUNK, min((chunk + 1) * CHUNK, <Py_ssize_t>self.living.size())):
            j = self.living[at]
            if limit == 0:
                break
            if j == i or (j > i) != larger or not self.alive[j]:
                continue
            distance = winnow_squared_distance_below(
                &self.vectors[i, 0], &self.vectors[j, 0], self.vectors.shape[1], limit)
            if distance < limit or self.entries[i] < KEPT:
                self._insert(i, j, distance)
                if self.entries[i] == KEPT:
                    limit = self.squared[last]
        return limit > 0

    cdef void _insert(self, int i, int j, float distance) noexcept nogil:
        """One step of an insertion sort into i's list; a full list loses its last."""
        cdef Py_ssize_t row = i * <Py_ssize_t>KEPT, at
        if self.entries[i] < KEPT:
            self.entries[i] += 1
        at = row + self.entries[i] - 1
        while at > row and self.squared[at - 1] > distance:
            self.squared[at] = self.squared[at - 1]
            self.other[at] = self.other[at - 1]
            at -= 1
        self.squared[at] = distance
        self.other[at] = j
