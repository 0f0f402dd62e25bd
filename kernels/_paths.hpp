/* Path lengths in a graph of neighbours: adjacency and greedy k-center, by Dijkstra cut short.
 *
 * A path is as long as its edges summed one after the other in float64, from the sample that searches. Rounding is
 * monotone, so the least such sum does not depend on the order in which a search comes upon the paths: every correct
 * one gives the same bits. The two ends of a pair may differ in the last bit; a pair is as far apart as the nearer end
 * says. */
#ifndef WINNOW_PATHS_HPP
#define WINNOW_PATHS_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <tuple>
#include <utility>
#include <vector>

#include "_parallel.hpp"

namespace winnow {

constexpr int64_t GLANCE = 1 << 20; // edges looked along between two returns to the caller: some ten milliseconds

template <class T>
using Least = std::priority_queue<T, std::vector<T>, std::greater<T>>; // the least on top

struct Neighbours { /* who is joined to whom: sample i to ends[starts[i]] .. ends[starts[i + 1] - 1] */
    const int64_t *starts;
    const int64_t *ends;
    const float *lengths;
    int64_t samples;
};

/* What one thread has found, valid where the stamp is that of its present search. */
class Search {
  public:
    explicit Search(int64_t samples) : lengths_(samples), stamps_(samples, 0) {}

    void begin(int origin) {
        if (++now_ == 0) { // the stamps went round
            stamps_.assign(stamps_.size(), 0);
            now_ = 1;
        }
        front_ = {};
        reach(origin, 0);
    }

    bool next(double *length, int *at) { // the nearest of those not passed yet; leaves it where it is
        while (!front_.empty()) {
            std::tie(*length, *at) = front_.top();
            if (*length == lengths_[*at])
                return true;
            front_.pop(); // a shorter path was found since
        }
        return false;
    }

    void pass(const Neighbours &graph, double length, int at) {
        front_.pop();
        for (int64_t e = graph.starts[at]; e < graph.starts[at + 1]; ++e)
            reach(static_cast<int>(graph.ends[e]), length + graph.lengths[e]);
        looked += graph.starts[at + 1] - graph.starts[at];
    }

    int64_t looked = 0; // edges, in all searches

  private:
    void reach(int at, double length) {
        if (stamps_[at] == now_ && length >= lengths_[at])
            return;
        stamps_[at] = now_;
        lengths_[at] = length;
        front_.emplace(length, at);
    }

    std::vector<double> lengths_;
    std::vector<uint32_t> stamps_;
    Least<std::pair<double, int>> front_;
    uint32_t now_ = 0;
};

/* The living samples of one run of adjacency, over a graph without edges of length zero. */
class PathAdjacency {
  public:
    enum Reason { FILLED, LONG_ENOUGH, NO_EDGE, PAUSED }; // why remove() came back

    PathAdjacency(Neighbours graph, const uint8_t *alive, int threads)
        : graph_(graph), alive_(alive, alive + graph.samples), whole_(graph.samples, 0), lists_(graph.samples),
          searches_(threads, Search(graph.samples)) {}

    void link(int start, int stop, int threads) {
        all_of((stop - start + STRIDE - 1) / STRIDE, threads, [&](int64_t stride, int thread) {
            for (int i = start + (int)stride * STRIDE; i < std::min(stop, start + ((int)stride + 1) * STRIDE); i++)
                if (alive_[i])
                    make_list(i, searches_[thread]);
            return true;
        });
    }

    void offer(int i) { /* put the shortest edge of a living sample on the heap; twice does no harm */
        if (alive_[i] && !lists_[i].empty())
            edges_.emplace(lists_[i][0].first, std::min(i, lists_[i][0].second), std::max(i, lists_[i][0].second));
    }

    Reason remove(int64_t *made, int64_t count, double until, int64_t *removed, int64_t *partner, float *edge) {
        int64_t pause_at = searches_[0].looked + GLANCE;
        while (*made < count) {
            if (edges_.empty())
                return NO_EDGE;
            if (searches_[0].looked > pause_at)
                return PAUSED;
            auto [length, i, j] = edges_.top();
            if (alive_[i] && alive_[j]) {
                if (static_cast<float>(length) >= until)
                    return LONG_ENOUGH;
                int loser = second(i, j) < second(j, i) ? i : j;
                removed[*made] = loser;
                partner[*made] = i + j - loser;
                edge[*made] = static_cast<float>(length);
                ++*made;
                alive_[loser] = 0;
            }
            edges_.pop();
            for (int end : {i, j})
                if (alive_[end] && know(end, 1))
                    offer(end);
        }
        return FILLED;
    }

  private:
    static constexpr int STRIDE = 64; // samples that one thread links in turn
    static constexpr size_t KEPT = 4; // two are needed; the others put off the next search
    using List = std::vector<std::pair<double, int>>; // living others, nearest first, then lowest

    /* How far i's nearest living other is, its partner aside. */
    double second(int i, int partner) {
        know(i, 2);
        for (auto [length, other] : lists_[i])
            if (other != partner)
                return length;
        return INFINITY;
    }

    /* Make sure that i's list names its nearest living others, as many as wanted or as there are. Whether any is. */
    bool know(int i, size_t wanted) {
        List &list = lists_[i];
        list.erase(std::remove_if(list.begin(), list.end(), [&](auto &entry) { return !alive_[entry.second]; }),
                   list.end());
        if (list.size() < wanted && !whole_[i])
            make_list(i, searches_[0]);
        return !list.empty();
    }

    /* Walk outwards, through the dead too, until nobody nearer can come. */
    void make_list(int i, Search &search) {
        List &list = lists_[i];
        double length;
        int at;
        list.clear();
        list.reserve(KEPT + 1);
        search.begin(i);
        while (search.next(&length, &at)) {
            if (list.size() == KEPT && length > list.back().first)
                return;
            if (at != i && alive_[at])
                insert(list, {length, at});
            search.pass(graph_, length, at);
        }
        whole_[i] = list.size() < KEPT; // whoever a list with room to spare does not name cannot be reached
    }

    /* They come in order of length; not always of position, as a tiny edge may be lost in the rounding of a long path. */
    static void insert(List &list, std::pair<double, int> entry) {
        list.insert(std::upper_bound(list.begin(), list.end(), entry), entry);
        if (list.size() > KEPT)
            list.pop_back();
    }

    Neighbours graph_;
    std::vector<char> alive_, whole_;
    std::vector<List> lists_;
    std::vector<Search> searches_;
    Least<std::tuple<double, int, int>> edges_; // (length, i, j), i < j
};

/* Greedy k-center over path lengths: a new pick walks outwards only where it is nearer than all picks before. */
class PathCoreset {
  public:
    PathCoreset(Neighbours graph, int first, double *length, int64_t *rank)
        : graph_(graph), length_(length), rank_(rank), first_(first), picked_(graph.samples, 0) {
        std::vector<std::pair<double, int>> all(graph.samples);
        for (int i = 0; i < graph.samples; ++i)
            all[i] = {INFINITY, -i};
        farthest_ = std::priority_queue<std::pair<double, int>>({}, std::move(all));
    }

    /* Goes on from *made picks, up to count, or until all lies within the radius, or until it has looked long enough.
     * Whether there is more to pick. */
    bool pick(int64_t *made, int64_t count, double radius, int64_t *picks, double *insertion) {
        for (int64_t pause_at = looked_ + GLANCE; *made < count && looked_ < pause_at; ++*made) {
            int centre = *made == 0 ? first_ : farthest();
            if (static_cast<float>(length_[centre]) <= radius)
                return false;
            picks[*made] = centre;
            insertion[*made] = length_[centre];
            settle(centre, *made);
        }
        return *made < count;
    }

  private:
    /* Lengths only fall, so what the heap says is never too little: correct its top until it is true. */
    int farthest() {
        for (;;) {
            auto [length, negated] = farthest_.top();
            if (!picked_[-negated] && length == length_[-negated])
                return -negated;
            farthest_.pop();
            if (!picked_[-negated])
                farthest_.emplace(length_[-negated], negated);
        }
    }

    void settle(int centre, int64_t rank) {
        picked_[centre] = 1;
        length_[centre] = 0;
        rank_[centre] = rank;
        front_.emplace(0, centre);
        while (!front_.empty()) {
            auto [length, at] = front_.top();
            front_.pop();
            if (length == length_[at])
                pass(length, at, rank);
        }
    }

    void pass(double length, int at, int64_t rank) {
        for (int64_t e = graph_.starts[at]; e < graph_.starts[at + 1]; ++e) {
            int64_t end = graph_.ends[e];
            if (length + graph_.lengths[e] < length_[end]) {
                length_[end] = length + graph_.lengths[e];
                rank_[end] = rank;
                front_.emplace(length_[end], static_cast<int>(end));
            }
        }
        looked_ += graph_.starts[at + 1] - graph_.starts[at];
    }

    Neighbours graph_;
    double *length_; // OUT (n,) to the nearest pick
    int64_t *rank_;  // OUT (n,) of the nearest pick
    int first_;
    std::vector<char> picked_;
    std::priority_queue<std::pair<double, int>> farthest_; // (length, -i): the lowest of the farthest on top
    Least<std::pair<double, int>> front_;
    int64_t looked_ = 0; // edges
};

/* The representative of each sample: the lowest that edges of length zero join it to. */
inline void join_at_zero(const Neighbours &graph, int64_t *lowest) {
    auto find = [&](int64_t i) {
        while (lowest[i] != i)
            i = lowest[i] = lowest[lowest[i]];
        return i;
    };
    for (int64_t i = 0; i < graph.samples; ++i)
        lowest[i] = i;
    for (int64_t i = 0; i < graph.samples; ++i)
        for (int64_t e = graph.starts[i]; e < graph.starts[i + 1]; ++e)
            if (graph.lengths[e] == 0) {
                int64_t a = find(i), b = find(graph.ends[e]);
                lowest[std::max(a, b)] = std::min(a, b);
            }
    for (int64_t i = 0; i < graph.samples; ++i)
        lowest[i] = find(i);
}

} // namespace winnow
#endif
