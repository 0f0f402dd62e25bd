/* Exact nearest neighbours: samples in buckets, whole buckets and most pairs ruled out by bounds, the rest measured.
 *
 * A tree of two-means cuts the samples into buckets. Each bucket keeps its samples in 8 bits around its centre, in tiles
 * sorted by their distance from it. For a query and a list of its nearest so far, a bucket, a tile or a pair is passed
 * over only if the triangle inequality, or the distance between codes less what their rounding lost, proves it farther
 * than the last of the list; every other pair gets the canonical distance. So the answer does not depend on the buckets. */
#ifndef WINNOW_ALIVE_HPP
#define WINNOW_ALIVE_HPP

#include "_lanes.hpp"
#include "_parallel.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace winnow::alive {

constexpr int GROUP = 64;      // queries that go through the buckets together
constexpr double TINY = 1e-20; // longer than any distance that underflows to zero when squared in float32

struct Bucket {
    int64_t slot;      // of its first sample; the others follow, then empty slots up to a whole tile
    int64_t member;    // its first sample in the order of the tree
    int count;
    float scale;       // of its codes; 0: the samples are too near or too far apart for codes
    double radius;     // no sample is farther from the centre
    double residual;   // no sample lost more in its code
    double size;       // no sample's code is longer, squared
};

/* The lists that a group of queries fills: nearest first, ties to the lowest rank. */
class Lists {
  public:
    /* Ranks start with the sample after the query itself and go round (`onward`), or at 0. */
    Lists(int k, bool onward, int *other, float *squared) : k_(k), onward_(onward), other_(other), squared_(squared) {}

    bool offer(int q, int query, int sample, float squared) { // whether the last of a full list changed
        int *other = other_ + static_cast<int64_t>(q) * k_;
        float *lengths = squared_ + static_cast<int64_t>(q) * k_;
        uint32_t base = onward_ ? query + 1 : 0, rank = sample - base;
        auto after = [&](int at) { return lengths[at] > squared || (lengths[at] == squared && other[at] - base > rank); };
        if (found[q] == k_ && !after(k_ - 1))
            return false;
        int at = found[q] < k_ ? found[q]++ : k_ - 1;
        for (; at > 0 && after(at - 1); --at) {
            lengths[at] = lengths[at - 1];
            other[at] = other[at - 1];
        }
        lengths[at] = squared;
        other[at] = sample;
        return found[q] == k_;
    }

    double limit(int q) const { return found[q] == k_ ? squared_[static_cast<int64_t>(q) * k_ + k_ - 1] : INFINITY; }

    int found[GROUP] = {};

  private:
    int k_;
    bool onward_;
    int *other_;     // (queries, k)
    float *squared_; // (queries, k)
};

class Buckets {
  public:
    /* `members` are the samples to be found. `total` is the number of all vectors. */
    Buckets(const float *vectors, int64_t total, int64_t width, std::vector<int> members, int level)
        : vectors_(vectors), width_(width), padded_((width + LANES - 1) / LANES * LANES), members_(std::move(members)),
          slot_of_(total, -1), filter_(best_filter(level)), rounding_(1e-6 + 1.2e-7 * static_cast<double>(width / LANES + 8)) {
        // A small set has small buckets, so that there are some to pass over.
        leaf_ = members_.size() < 20000 ? TILE : 16 * TILE;
        open_ = {{0, static_cast<int64_t>(members_.size())}};
    }

    /* Cut every part that is still too large in two. Whether there are more to cut. */
    bool split(int threads) {
        std::vector<int64_t> cuts(open_.size());
        all_of(static_cast<int64_t>(open_.size()), threads, [&](int64_t part, int) {
            cuts[part] = cut(open_[part].first, open_[part].second);
            return true;
        });
        std::vector<Part> parts;
        for (size_t part = 0; part < open_.size(); ++part)
            for (Part half : {Part{open_[part].first, cuts[part]}, Part{cuts[part], open_[part].second}})
                if (half.second > half.first)
                    (half.second - half.first > leaf_ ? parts : closed_).push_back(half);
        open_ = std::move(parts);
        return !open_.empty();
    }

    /* When no part is too large any more: make each a bucket, to be filled. How many there are. */
    int64_t lay_out() {
        std::sort(closed_.begin(), closed_.end());
        int64_t slots = 0;
        for (auto [first, end] : closed_) {
            buckets_.push_back({slots, first, static_cast<int>(end - first), 0, 0, 0, 0});
            slots += (end - first + TILE - 1) / TILE * TILE;
        }
        centres_.assign(buckets_.size() * padded_, 0);
        codes_.resize(slots * padded_);
        size_.assign(slots, INFINITY); // an empty slot, or a forgotten sample, passes no filter
        position_.assign(slots, -1);
        nearest_.resize(slots / TILE);
        farthest_.resize(slots / TILE);
        return static_cast<int64_t>(buckets_.size());
    }

    void fill(int64_t start, int64_t stop, int threads) {
        all_of(stop - start, threads, [&](int64_t b, int) {
            fill(start + b);
            return true;
        });
    }

    void fill(int64_t b) {
        Bucket &bucket = buckets_[b];
        place_centre(bucket, centre(b));
        sort_by_distance(bucket, centre(b));
        write_codes(bucket, centre(b));
    }

    void forget(int position) { size_[slot_of_[position]] = INFINITY; }
    int64_t slot_of(int position) const { return slot_of_[position]; }
    int64_t size() const { return static_cast<int64_t>(members_.size()); }

    /* Fill the lists of up to GROUP samples that lie near each other, and near the member `home`. */
    void nearest(const int *queries, int count, int home, Lists &lists) const;

    /* A member of the bucket whose centre is nearest: where to begin the search for any sample. */
    int home_of(int sample) const {
        std::vector<float> padded(padded_, 0.0f);
        copy(sample, padded.data());
        int64_t best = 0;
        float least = INFINITY;
        for (int64_t b = 0; b < static_cast<int64_t>(buckets_.size()); ++b) {
            float squared = squared_distance(padded.data(), centre(b), padded_);
            if (squared < least) {
                least = squared;
                best = b;
            }
        }
        return members_[buckets_[best].member];
    }

    /* Where to cut members that are sorted by slot into groups of one bucket each. */
    std::vector<int64_t> groups(const int *queries, int64_t count) const {
        std::vector<int64_t> starts;
        for (int64_t at = 0; at < count; ++at)
            if (at == 0 || at - starts.back() == GROUP || bucket_of(queries[at]) != bucket_of(queries[at - 1]))
                starts.push_back(at);
        starts.push_back(count);
        return starts;
    }

  private:
    using Part = std::pair<int64_t, int64_t>; // members from, to

    const float *row(int position) const { return vectors_ + position * width_; }
    float *centre(int64_t b) { return centres_.data() + b * padded_; }
    const float *centre(int64_t b) const { return centres_.data() + b * padded_; }
    double most(double length) const { return length * (1 + rounding_) + TINY; }
    double least(double length) const { return length * (1 - rounding_) - TINY; }

    /* Two-means on a few samples, then all go to the nearer mean; the members are reordered. Where the cut is. */
    int64_t cut(int64_t first, int64_t end) {
        std::vector<float> means = two_means(first, end);
        auto side = [&](int at) {
            return squared_distance(row(at), means.data(), width_) < squared_distance(row(at), &means[width_], width_);
        };
        int64_t middle = std::partition(&members_[first], members_.data() + end, side) - members_.data();
        int64_t smallest = (end - first) / 16;
        bool lopsided = middle - first < smallest || end - middle < smallest;
        return lopsided || middle == first || middle == end ? first + (end - first) / 2 : middle;
    }

    std::vector<float> two_means(int64_t first, int64_t end) const {
        std::vector<const float *> rows;
        for (int64_t at = first, step = std::max<int64_t>(1, (end - first) / 512); at < end; at += step)
            rows.push_back(row(members_[at]));
        std::vector<float> means(2 * width_);
        const float *one = farthest_from(rows[0], rows), *two = farthest_from(one, rows);
        std::copy(one, one + width_, means.begin());
        std::copy(two, two + width_, means.begin() + width_);
        for (int round = 0; round < 3; ++round)
            improve(means, rows);
        return means;
    }

    const float *farthest_from(const float *point, const std::vector<const float *> &rows) const {
        return *std::max_element(rows.begin(), rows.end(), [&](const float *a, const float *b) {
            return squared_distance(point, a, width_) < squared_distance(point, b, width_);
        });
    }

    void improve(std::vector<float> &means, const std::vector<const float *> &rows) const {
        std::vector<double> sums(2 * width_, 0);
        int64_t counts[2] = {0, 0};
        for (const float *at : rows) {
            bool second = !(squared_distance(at, means.data(), width_) < squared_distance(at, &means[width_], width_));
            ++counts[second];
            for (int64_t j = 0; j < width_; ++j)
                sums[second * width_ + j] += at[j];
        }
        for (int64_t j = 0; j < 2 * width_; ++j)
            if (counts[j / width_])
                means[j] = static_cast<float>(sums[j] / static_cast<double>(counts[j / width_]));
    }

    void place_centre(const Bucket &bucket, float *centre) const {
        std::vector<double> sum(width_, 0);
        for (int at = 0; at < bucket.count; ++at)
            for (int64_t j = 0; j < width_; ++j)
                sum[j] += row(members_[bucket.member + at])[j];
        for (int64_t j = 0; j < width_; ++j)
            centre[j] = static_cast<float>(sum[j] / bucket.count);
    }

    /* Farthest first, so that a tile is a shell around the centre. */
    void sort_by_distance(Bucket &bucket, const float *centre) {
        std::vector<std::pair<float, int>> order(bucket.count);
        for (int at = 0; at < bucket.count; ++at) {
            int position = members_[bucket.member + at];
            order[at] = {-std::sqrt(squared_distance(row(position), centre, width_)), position};
        }
        std::sort(order.begin(), order.end());
        bucket.radius = most(-order[0].first);
        for (int at = 0; at < bucket.count; ++at) {
            int64_t slot = bucket.slot + at;
            position_[slot] = order[at].second;
            slot_of_[order[at].second] = slot;
            if (at % TILE == 0)
                farthest_[slot / TILE] = most(-order[at].first);
            nearest_[slot / TILE] = least(-order[at].first);
        }
    }

    void write_codes(Bucket &bucket, const float *centre) {
        std::vector<float> padded(padded_, 0.0f);
        float top = 0;
        for (int at = 0; at < bucket.count; ++at)
            top = std::max(top, largest(copy(position_[bucket.slot + at], padded.data()), centre, padded_));
        bucket.scale = usable(top / 127);
        for (int at = 0; at < bucket.count; ++at) {
            int64_t slot = bucket.slot + at;
            size_[slot] = 0;
            if (bucket.scale == 0)
                continue;
            uint8_t *tile = &codes_[slot / TILE * TILE * padded_];
            Coded coded = encode(copy(position_[slot], padded.data()), centre, padded_, bucket.scale,
                                 reinterpret_cast<int8_t *>(tile) + slot % TILE * 4, TILE * 4, '\x80');
            size_[slot] = static_cast<float>(bucket.scale * bucket.scale * coded.squares);
            bucket.size = std::max(bucket.size, static_cast<double>(size_[slot]));
            bucket.residual = std::max(bucket.residual, lost(bucket.scale, coded));
        }
    }

    /* No less than what a code lost, whatever float32 made of it. */
    double lost(double scale, const Coded &coded) const {
        return most(coded.residual) + rounding_ * (scale * std::sqrt(coded.squares) + coded.residual);
    }

    /* Beyond, squares would leave float32: no codes, every pair is measured. */
    static float usable(float scale) { return scale > 1e-15f && scale < 1e15f ? scale : 0; }

    const float *copy(int position, float *padded) const {
        return std::copy(row(position), row(position) + width_, padded) - width_;
    }

    int64_t bucket_of(int position) const {
        auto after = [](int64_t slot, const Bucket &bucket) { return slot < bucket.slot; };
        return std::upper_bound(buckets_.begin(), buckets_.end(), slot_of(position), after) - buckets_.begin() - 1;
    }

    void fetch(int position) const { // ahead of its use: rows lie anywhere in memory
        for (int64_t j = 0; j < width_; j += LANES)
            __builtin_prefetch(row(position) + j);
    }

    friend class Round;

    const float *vectors_;
    int64_t width_, padded_, leaf_;
    std::vector<int> members_;
    std::vector<int64_t> slot_of_;
    Filter filter_;
    double rounding_; // relative, of any length computed here in float32
    std::vector<Part> open_, closed_;
    std::vector<Bucket> buckets_;
    std::vector<float> centres_;   // (buckets, padded)
    std::vector<uint8_t> codes_;   // (tiles, padded / 4, TILE, 4) each plus 128
    std::vector<float> size_;      // (slots,) the squared length of each code
    std::vector<int> position_;    // (slots,)
    std::vector<double> nearest_;  // (tiles,) no sample of the tile is nearer to the centre
    std::vector<double> farthest_; // (tiles,)
};

/* One group of queries going through the buckets. */
class Round {
  public:
    Round(const Buckets &index, const int *queries, int count, int home, Lists &lists)
        : index_(index), queries_(queries), count_(count), home_(index.bucket_of(home)), lists_(lists), padded_(count * index.padded_, 0.0f),
          codes_(GROUP * index.padded_) {
        for (int q = 0; q < count; ++q) {
            index.copy(queries[q], query(q));
            reach_[q] = INFINITY;
        }
    }

    void go() {
        for (auto [bound, b] : nearest_buckets_first()) {
            if (bound > *std::max_element(reach_, reach_ + count_))
                return;
            visit(b);
        }
    }

  private:
    struct Seen { // a query from the bucket that is being visited
        int q;
        double least, most; // its distance from the centre
        double size;        // the squared length of its code
        double residual;
        bool coded;
    };

    float *query(int q) { return padded_.data() + q * index_.padded_; }

    double to_centre(int q, int64_t b) {
        return std::sqrt(squared_distance(query(q), index_.centre(b), index_.padded_));
    }

    /* With a bound on how near any sample of each can be to any query of the group. */
    std::vector<std::pair<double, int64_t>> nearest_buckets_first() {
        const std::vector<Bucket> &buckets = index_.buckets_;
        double spread = 0;
        for (int q = 0; q < count_; ++q)
            spread = std::max(spread, index_.most(to_centre(q, home_)));
        std::vector<std::pair<double, int64_t>> order(buckets.size());
        for (size_t b = 0; b < buckets.size(); ++b) {
            double apart = std::sqrt(squared_distance(index_.centre(home_), index_.centre(b), index_.padded_));
            double bound = index_.least(apart) - buckets[b].radius - spread;
            order[b] = {bound == bound ? bound : 0, b}; // beyond float32: not a number, no bound
        }
        order[home_].first = -INFINITY;
        std::sort(order.begin(), order.end());
        return order;
    }

    void visit(int64_t b) {
        const Bucket &bucket = index_.buckets_[b];
        seen_ = 0;
        for (int q = 0; q < count_; ++q)
            see(q, b);
        for (; seen_ % TOGETHER; ++seen_)
            nobody(seen_);
        int64_t tiles = (bucket.count + TILE - 1) / TILE;
        for (int64_t tile = bucket.slot / TILE; tile < bucket.slot / TILE + tiles; ++tile)
            for (int first = 0; first < seen_; first += TOGETHER)
                if (within_shell(first, tile))
                    sift(bucket, tile, first);
    }

    /* Bring a query into the frame of a bucket, unless it is too far away. */
    void see(int q, int64_t b) {
        const Bucket &bucket = index_.buckets_[b];
        double distance = to_centre(q, b);
        if (index_.least(distance) - bucket.radius > reach_[q])
            return;
        int at = seen_++;
        Seen &seen = seen_queries_[at] = {q, index_.least(distance), index_.most(distance), 0, 0, false};
        inverse_[at] = 1;
        shift_[at] = 0;
        float scale = Buckets::usable(largest(query(q), index_.centre(b), index_.padded_) / 127);
        if (bucket.scale != 0 && scale != 0) {
            int8_t *codes = codes_.data() + at / TOGETHER * TOGETHER * index_.padded_ + at % TOGETHER * 4;
            Coded coded = encode(query(q), index_.centre(b), index_.padded_, scale, codes, TOGETHER * 4, 0);
            seen.coded = true;
            seen.size = static_cast<double>(scale) * scale * coded.squares;
            seen.residual = index_.lost(scale, coded);
            inverse_[at] = static_cast<float>(1 / (2.0 * bucket.scale * scale));
            shift_[at] = 128 * coded.sum;
        }
        aim(bucket, at);
    }

    void nobody(int at) {
        seen_queries_[at] = {-1, INFINITY, -INFINITY, 0, 0, false};
        offset_[at] = INFINITY;
        inverse_[at] = 1;
        shift_[at] = 0;
    }

    /* Let through what may be within reach: |code - query's code| <= reach + what both lost, with room for rounding. */
    void aim(const Bucket &bucket, int at) {
        const Seen &seen = seen_queries_[at];
        double reach = reach_[seen.q] + bucket.residual + seen.residual;
        double room = 1e-6 * (bucket.size + seen.size + reach * reach);
        offset_[at] = seen.coded ? static_cast<float>(seen.size - reach * reach - room) : -INFINITY;
    }

    bool within_shell(int first, int64_t tile) const {
        for (int at = first; at < first + TOGETHER; ++at) {
            const Seen &seen = seen_queries_[at];
            if (seen.q >= 0 && !(seen.least - reach_[seen.q] > index_.farthest_[tile]) &&
                !(seen.most + reach_[seen.q] < index_.nearest_[tile]))
                return true;
        }
        return false;
    }

    void sift(const Bucket &bucket, int64_t tile, int first) {
        uint32_t passed[TOGETHER];
        Asked asked = {codes_.data() + first * index_.padded_, offset_ + first, inverse_ + first, shift_ + first};
        index_.filter_(&index_.codes_[tile * TILE * index_.padded_], index_.padded_ / 4, &index_.size_[tile * TILE], asked,
                       passed);
        uint32_t any = 0;
        for (uint32_t of_one : passed)
            any |= of_one;
        for (; any; any &= any - 1)
            index_.fetch(index_.position_[tile * TILE + __builtin_ctz(any)]);
        for (int lane = 0; lane < TOGETHER; ++lane)
            if (passed[lane])
                measure(bucket, tile, first + lane, passed[lane]);
    }

    void measure(const Bucket &bucket, int64_t tile, int at, uint32_t passed) {
        int q = seen_queries_[at].q;
        bool nearer = false;
        for (; passed; passed &= passed - 1) {
            int sample = index_.position_[tile * TILE + __builtin_ctz(passed)];
            if (sample != queries_[q])
                nearer |= lists_.offer(q, queries_[q], sample, squared_distance(query(q), index_.row(sample), index_.width_));
        }
        if (nearer) {
            reach_[q] = index_.most(std::sqrt(lists_.limit(q)));
            aim(bucket, at);
        }
    }

    const Buckets &index_;
    const int *queries_;
    int count_;
    int64_t home_; // the bucket to begin with
    Lists &lists_;
    std::vector<float> padded_; // (count, padded) the queries
    std::vector<int8_t> codes_; // (GROUP / TOGETHER, words, TOGETHER, 4)
    double reach_[GROUP];       // nothing farther belongs on the list
    Seen seen_queries_[GROUP];
    float offset_[GROUP], inverse_[GROUP];
    int32_t shift_[GROUP];
    int seen_ = 0;
};

inline void Buckets::nearest(const int *queries, int count, int home, Lists &lists) const {
    Round(*this, queries, count, home, lists).go();
}

/* The lists of queries that are near each other, written to their places (in rows of k). */
inline void find(const Buckets &index, const int *queries, const int *places, int64_t count, int home, int k,
                 bool onward, int *other, float *squared, int *entries) {
    std::vector<int> others(count * k, -1);
    std::vector<float> lengths(count * k, INFINITY);
    Lists lists(k, onward, others.data(), lengths.data());
    index.nearest(queries, static_cast<int>(count), home, lists);
    for (int64_t q = 0; q < count; ++q) {
        std::copy_n(&others[q * k], k, other + static_cast<int64_t>(places[q]) * k);
        std::copy_n(&lengths[q * k], k, squared + static_cast<int64_t>(places[q]) * k);
        entries[places[q]] = lists.found[q];
    }
}

/* The same for groups start to stop of the queries, side by side; `homes[i]` lies near `queries[i]`. */
inline void find_all(const Buckets &index, const int *queries, const int *places, const int *homes, const int64_t *groups,
                     int64_t start, int64_t stop, int k, bool onward, int *other, float *squared, int *entries, int threads) {
    all_of(stop - start, threads, [&](int64_t group, int) {
        const int64_t first = groups[start + group], end = groups[start + group + 1];
        find(index, queries + first, places + first, end - first, homes[first], k, onward, other, squared, entries);
        return true;
    });
}

/* A member near each sample. */
inline void homes_of(const Buckets &index, const int *samples, int64_t count, int threads, int *homes) {
    all_of(count, threads, [&](int64_t at, int) {
        homes[at] = index.home_of(samples[at]);
        return true;
    });
}

} // namespace winnow::alive
#endif
