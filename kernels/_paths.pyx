# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The loops over path lengths, as `_paths.hpp` has them, over numpy's memory and without the interpreter's lock."""

from libc.stdint cimport int64_t, uint8_t
from libcpp cimport bool

cdef extern from "_paths.hpp" namespace "winnow" nogil:
    cdef cppclass Neighbours:
        const int64_t *starts
        const int64_t *ends
        const float *lengths
        int64_t samples

    cdef enum Reason "winnow::PathAdjacency::Reason":
        _FILLED "winnow::PathAdjacency::FILLED"
        _LONG_ENOUGH "winnow::PathAdjacency::LONG_ENOUGH"
        _NO_EDGE "winnow::PathAdjacency::NO_EDGE"
        _PAUSED "winnow::PathAdjacency::PAUSED"

    cdef cppclass PathAdjacency:
        PathAdjacency(Neighbours graph, const uint8_t *alive, int threads) except +
        void link(int start, int stop, int threads) except +
        void offer(int i) except +
        Reason remove(
            int64_t *made, int64_t count, double until, int64_t *removed, int64_t *partner, float *edge
        ) except +

    cdef cppclass PathCoreset:
        PathCoreset(Neighbours graph, int first, double *length, int64_t *rank) except +
        bool pick(int64_t *made, int64_t count, double radius, int64_t *picks, double *insertion) except +

    void join_at_zero(const Neighbours &graph, int64_t *lowest) except +

FILLED, LONG_ENOUGH, NO_EDGE, PAUSED = _FILLED, _LONG_ENOUGH, _NO_EDGE, _PAUSED


cdef Neighbours neighbours(const int64_t[::1] starts, const int64_t[::1] ends, const float[::1] lengths) noexcept:
    cdef Neighbours graph
    graph.samples = starts.shape[0] - 1
    graph.starts = &starts[0]
    graph.ends = &ends[0] if ends.shape[0] else NULL
    graph.lengths = &lengths[0] if ends.shape[0] else NULL
    return graph


def joined_at_zero(const int64_t[::1] starts, const int64_t[::1] ends, const float[::1] lengths, int64_t[::1] lowest):
    """Write to `lowest` (n,) the lowest sample that edges of length zero join each to; itself, if none do."""
    cdef Neighbours graph = neighbours(starts, ends, lengths)
    with nogil:
        join_at_zero(graph, &lowest[0])


cdef class Adjacency:
    """The living samples of one run; the graph has no edge of length zero."""

    cdef PathAdjacency *run
    cdef object graph  # kept, as the run points into it
    cdef int n_threads

    def __cinit__(
        self,
        const int64_t[::1] starts,   # IN (n + 1,)
        const int64_t[::1] ends,     # IN (m,)
        const float[::1] lengths,    # IN (m,)
        const uint8_t[::1] alive,    # IN (n,)
        int n_threads,
    ):
        self.graph = starts, ends, lengths
        self.n_threads = n_threads
        self.run = new PathAdjacency(neighbours(starts, ends, lengths), &alive[0], n_threads)

    def __dealloc__(self):
        del self.run

    def link(self, int start, int stop):
        """Let samples start to stop find their nearest, and put their shortest edges on the heap."""
        cdef int i
        with nogil:
            self.run.link(start, stop, self.n_threads)
            for i in range(start, stop):
                self.run.offer(i)

    def remove(
        self,
        int64_t made,          # IN  removals made before
        double until,          # IN  stop when the shortest edge, in float32, is at least this long
        int64_t[::1] removed,  # OUT (count,) filled from `made` on
        int64_t[::1] partner,  # OUT (count,)
        float[::1] edge,       # OUT (count,)
    ):
        """Remove one end of the shortest edge, again and again. Returns (removals made in all, why it came back)."""
        cdef Reason why
        with nogil:
            why = self.run.remove(&made, removed.shape[0], until, &removed[0], &partner[0], &edge[0])
        return made, <int>why


cdef class Coreset:
    """The picks of one run so far, and how far every sample is from them."""

    cdef PathCoreset *run
    cdef object kept  # alive, as the run points into it

    def __cinit__(
        self,
        const int64_t[::1] starts,   # IN (n + 1,)
        const int64_t[::1] ends,     # IN (m,)
        const float[::1] lengths,    # IN (m,)
        int first,                   # IN the first pick
        double[::1] length,          # OUT (n,) to the nearest pick; inf at first
        int64_t[::1] rank,           # OUT (n,) of the nearest pick; -1 at first
    ):
        self.kept = starts, ends, lengths, length, rank
        self.run = new PathCoreset(neighbours(starts, ends, lengths), first, &length[0], &rank[0])

    def __dealloc__(self):
        del self.run

    def pick(self, int64_t made, double radius, int64_t[::1] picks, double[::1] insertion):
        """Go on from `made` picks for a while. Returns (picks made in all, whether there are more to make)."""
        cdef bool more
        with nogil:
            more = self.run.pick(&made, picks.shape[0], radius, &picks[0], &insertion[0])
        return made, more
