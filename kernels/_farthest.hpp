/* Greedy k-center over buckets: exact, and lazy.
 *
 * A stored distance is an upper bound, since centres not looked at yet can only lower it. A round takes the largest
 * bound, sets a threshold a little below it, and brings up to date only the buckets that reach above the threshold.
 * The points above it form a pool; plain greedy among them picks for as long as the pool's farthest is above the
 * threshold, and every such pick is the farthest of all, because all others are at or below it. */
#ifndef WINNOW_FARTHEST_HPP
#define WINNOW_FARTHEST_HPP

#include <chrono>
#include <limits>

#include "_buckets.hpp"

namespace winnow {

constexpr int POOL = 1024;          /* points a round picks among, roughly */
constexpr int CHUNK = 64;           /* centres that meet a bucket together */
constexpr int QUERIES = 8;          /* centres a loop over codes takes */
constexpr int LOOK = 256;           /* centres between two looks at the clock */
constexpr int PICKED = -1;          /* as a squared distance */
constexpr int ROOM = 32;            /* entries of all lists of centres to look at: the input's numbers over this */

enum Status { FILLED = 0, COVERED = 1, PAUSED = 2 };

class Farthest {
  public:
    std::vector<int32_t> positions; /* the picks so far */
    std::vector<float> insertion;   /* squared */

    Farthest(const float *vectors, int64_t n, int dimension, int level, int threads, Watcher watch, int scratch)
        : tree_(vectors, n, dimension, level, threads, watch, scratch), room_(n * dimension / ROOM), threads_(threads), squared_(tree_.slots(), PICKED),
          rank_(tree_.slots(), -1), reach_(tree_.slots() / TILE, -1), slot_of_(n), state_(tree_.buckets.size()),
          applied_(tree_.groups.size(), 0), scratch_(threads) {
        all_of((int64_t)state_.size(), threads, [&](int64_t b, int) { return begin((int)b); });
        for (auto &scratch : scratch_)
            scratch.make(tree_.width);
    }

    /* A centre that is no sample; `row` has the vectors' dimension. */
    void add_pool(const float *row) {
        pool_rows_.emplace_back(tree_.width, 0.0f);
        std::copy_n(row, tree_.dimension, pool_rows_.back().data());
        centres_.push_back(pool_rows_.back().data());
        pool_count_++;
    }

    /* Make a sample the next pick, whatever its distance; the caller knows it. */
    void pick(int64_t position, float squared) {
        int64_t slot = slot_of_[position];
        positions.push_back((int32_t)position);
        insertion.push_back(squared);
        centres_.push_back(tree_.point(slot));
        squared_[slot] = PICKED;
        rank_[slot] = (int32_t)positions.size() - 1;
        sum_up(tree_.bucket_of[slot / TILE]);
    }

    /* Until there are `count` picks, or no sample is farther than `stop_at` from all of them (negative: never), or
     * `seconds` have passed; then it can be called again. */
    Status run(int64_t count, double stop_at, double seconds) {
        const auto until = after(seconds);
        while ((int64_t)positions.size() < count) {
            if (!settle(until))
                return PAUSED;
            float top = largest();
            if (top < 0 || std::sqrt(top) <= stop_at)
                return COVERED;
            if (top == 0)
                pick_twins(count, until);
            else
                pick_from_pool(count, stop_at, after(seconds)); /* a round pays by its picks: they have time of their own */
            threshold_ = NONE;
            if (Clock::now() >= until)
                return (int64_t)positions.size() < count ? PAUSED : FILLED;
        }
        return FILLED;
    }

    /* Bring every bucket up to date; false where `seconds` did not suffice. */
    bool finish(double seconds) {
        return refresh_above(-2, after(seconds));
    }

    /* After `finish`: each sample's squared distance to its nearest centre, and that one's rank (-1: of the pool). */
    void cover(float *squared, int64_t *rank) const {
        for (int64_t slot = 0; slot < tree_.slots(); slot++)
            if (tree_.position[slot] >= 0) {
                squared[tree_.position[slot]] = std::max(0.0f, squared_[slot]);
                rank[tree_.position[slot]] = rank_[slot];
            }
    }

    float squared_of(int64_t position) const { return squared_[slot_of_[position]]; }

    int64_t bytes() const {
        int64_t total = tree_.slots() * (tree_.width * 5 + 4 * 6) + (int64_t)slot_of_.size() * 4;
        for (auto &state : state_)
            total += (int64_t)(state.pending.capacity() * sizeof(Pending));
        return total;
    }

  private:
    using Clock = std::chrono::steady_clock;
    static constexpr float NONE = -3;

    static Clock::time_point after(double seconds) {
        return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    }

    bool begin(int b) {
        const Bucket &bucket = tree_.buckets[b];
        for (int64_t slot = bucket.first; slot < bucket.first + bucket.count; slot++) {
            slot_of_[tree_.position[slot]] = (int32_t)slot;
            squared_[slot] = INFINITY;
        }
        sum_up(b);
        return true;
    }

    struct Pending {
        int32_t centre;
        float at_least; /* its distance to the bucket's centroid */
    };

    struct State {
        float largest = -1;           /* of the points' squared distances: an upper bound */
        float reach = -1;             /* a centre at least this far from the centroid changes nothing */
        std::vector<Pending> pending; /* centres that may matter and were not applied yet */
    };

    struct Scratch {
        std::vector<float> rows;
        std::vector<int32_t> codes;
        std::vector<int8_t> code;
        std::vector<Pending> sorted;
        void make(int width) {
            rows.resize((size_t)width * 4);
            codes.resize((size_t)width / 4 * CHUNK);
            code.resize(width);
        }
    };

    Buckets tree_;
    const int64_t room_; /* entries of all lists of centres to look at, together */
    const int threads_;
    std::vector<float> squared_; /* of each slot; PICKED where picked or no point */
    std::vector<int32_t> rank_;  /* of the nearest centre */
    std::vector<float> reach_;   /* of each tile: as State::reach */
    std::vector<int32_t> slot_of_;
    std::vector<State> state_;
    std::vector<int64_t> applied_; /* of each group: centres that its buckets know of */
    std::vector<Scratch> scratch_;
    std::vector<std::vector<float>> pool_rows_;
    std::vector<const float *> centres_;
    int pool_count_ = 0;
    float threshold_ = NONE, margin_ = 0.05f;

    int rank_of(int32_t centre) const { return centre < pool_count_ ? -1 : centre - pool_count_; }

    float largest() const {
        float top = -1;
        for (auto &state : state_)
            top = std::max(top, state.largest);
        return top;
    }

    /* --- bringing buckets up to date ----------------------------------------------------------------------------- */

    /* On return every bucket above the threshold is up to date and one is there, so that the largest bound is true; or
     * all bounds are 0, which is true of itself. */
    bool settle(Clock::time_point until) {
        for (;;) {
            float top = largest();
            if (top <= 0)
                return true; /* a bound of nothing is true */
            if (threshold_ == NONE || top <= threshold_)
                threshold_ = below(top);
            if (!refresh_above(threshold_, until))
                return false;
            if (largest() > threshold_)
                return true;
        }
    }

    float below(float top) const {
        float lowered = std::min(top, std::numeric_limits<float>::max()) * (1 - margin_);
        return lowered < top ? lowered : std::nextafter(top, 0.0f);
    }

    bool refresh_above(float threshold, Clock::time_point until) {
        if (waiting() > room_)
            threshold = -2; /* lists that grow too long are worked off everywhere */
        std::vector<int> stale_groups, stale;
        for (size_t g = 0; g < tree_.groups.size(); g++)
            if (applied_[g] < (int64_t)centres_.size())
                for (int b = tree_.groups[g].first; b < tree_.groups[g].first + tree_.groups[g].count; b++)
                    if (state_[b].largest > threshold) {
                        stale_groups.push_back((int)g);
                        break;
                    }
        auto tell = [&](int64_t i, int thread) { return announce(stale_groups[i], until, scratch_[thread]); };
        if (!all_of((int64_t)stale_groups.size(), threads_, tell))
            return false;
        for (size_t b = 0; b < state_.size(); b++)
            if (state_[b].largest > threshold && !state_[b].pending.empty())
                stale.push_back((int)b);
        auto renew = [&](int64_t i, int thread) { return refresh(stale[i], until, scratch_[thread]); };
        return all_of((int64_t)stale.size(), threads_, renew);
    }

    int64_t waiting() const {
        int64_t total = 0;
        for (auto &state : state_)
            total += (int64_t)state.pending.size();
        return total;
    }

    /* Tell a group's buckets of the centres that came since: one that is too far from all of them is forgotten. False
     * once the time is over, here and in `refresh`; what was done by then need not be done again. */
    bool announce(int g, Clock::time_point until, Scratch &scratch) {
        const Group &group = tree_.groups[g];
        const float *own = tree_.group_centroid(g);
        float most = -1;
        for (int b = group.first; b < group.first + group.count; b++)
            most = std::max(most, state_[b].largest);
        float limit = most < 0 ? -1 : group.radius + std::sqrt(most) * tree_.up + SPECK;
        const float *rows[4];
        int32_t ids[4];
        int waiting = 0;
        int64_t c = applied_[g];
        for (; c < (int64_t)centres_.size(); c++) {
            if (c % LOOK == 0 && c > applied_[g] && Clock::now() >= until)
                break;
            if (std::sqrt(tree_.loops.squared(centres_[c], own, tree_.width)) * tree_.down - SPECK >= limit)
                continue;
            rows[waiting] = centres_[c];
            ids[waiting++] = (int32_t)c;
            if (waiting == 4)
                announce_four(group, own, rows, ids, waiting, scratch), waiting = 0;
        }
        if (waiting)
            announce_four(group, own, rows, ids, waiting, scratch);
        applied_[g] = c;
        return Clock::now() < until;
    }

    void announce_four(const Group &group, const float *own, const float *const *rows, const int32_t *ids, int count,
                       Scratch &scratch) {
        float away[4 * FAN];
        tree_.at_least(group, own, rows, count, scratch.rows.data(), away);
        for (int r = 0; r < count; r++)
            for (int b = 0; b < group.count; b++)
                if (away[r * FAN + b] < state_[group.first + b].reach)
                    state_[group.first + b].pending.push_back({ids[r], away[r * FAN + b]});
    }

    bool refresh(int b, Clock::time_point until, Scratch &scratch) {
        State &state = state_[b];
        if (state.largest == INFINITY && state.reach > 0)
            apply_nearest(b);
        still_in_reach(state);
        sort_by_distance(state.pending, scratch.sorted);
        size_t met = 0;
        while (met < state.pending.size() && (met == 0 || Clock::now() < until)) {
            const size_t count = std::min<size_t>(CHUNK, state.pending.size() - met);
            meet(b, &state.pending[met], (int)count, scratch);
            met += count;
        }
        if (met == state.pending.size())
            std::vector<Pending>().swap(state.pending); /* its room goes to other buckets' lists */
        else
            state.pending.erase(state.pending.begin(), state.pending.begin() + (int64_t)met);
        sum_up(b);
        return Clock::now() < until;
    }

    /* The first centre a bucket meets is compared with all its points: now every bound is finite. */
    void apply_nearest(int b) {
        State &state = state_[b];
        auto nearest = std::min_element(state.pending.begin(), state.pending.end(),
                                        [](const Pending &a, const Pending &c) { return a.at_least < c.at_least; });
        const Bucket &bucket = tree_.buckets[b];
        for (int64_t slot = bucket.first; slot < bucket.first + bucket.count; slot++)
            lower(slot, nearest->centre);
        *nearest = state.pending.back();
        state.pending.pop_back();
        sum_up(b);
    }

    static void still_in_reach(State &state) {
        auto out = [&](const Pending &one) { return !(one.at_least < state.reach); };
        state.pending.erase(std::remove_if(state.pending.begin(), state.pending.end(), out), state.pending.end());
    }

    /* Nearest first, in 128 steps: what is near lowers the bounds, and spares what is far. */
    static void sort_by_distance(std::vector<Pending> &pending, std::vector<Pending> &sorted) {
        if (pending.size() <= QUERIES)
            return;
        float least = INFINITY, most = 0;
        for (auto &one : pending) {
            least = std::min(least, one.at_least);
            most = std::max(most, one.at_least);
        }
        const float scale = most > least ? 127.0f / (most - least) : 0;
        int begins[129] = {0};
        for (auto &one : pending)
            begins[1 + (int)((one.at_least - least) * scale)]++;
        for (int step = 0; step < 128; step++)
            begins[step + 1] += begins[step];
        sorted.resize(pending.size());
        for (auto &one : pending)
            sorted[begins[(int)((one.at_least - least) * scale)]++] = one;
        pending.swap(sorted);
    }

    bool lower(int64_t slot, int32_t centre) {
        if (squared_[slot] < 0)
            return false;
        float squared = tree_.loops.squared(tree_.point(slot), centres_[centre], tree_.width);
        if (squared < squared_[slot] || (squared == squared_[slot] && rank_of(centre) < rank_[slot])) {
            squared_[slot] = squared;
            rank_[slot] = rank_of(centre);
            return true;
        }
        return false;
    }

    /* --- some centres against one bucket, by their codes ----------------------------------------------------------- */

    struct Coded {
        int count = 0; /* up to CHUNK */
        int32_t centres[CHUNK];
        float least[CHUNK / QUERIES]; /* of eight: the least distance to the centroid */
        int32_t more[CHUNK];          /* what a query adds to the points' limits */
        float residual = 0, inverse = 0;
    };

    void meet(int b, const Pending *pending, int count, Scratch &scratch) {
        Coded coded;
        for (int i = 0; i < count; i++)
            if (pending[i].at_least < state_[b].reach) {
                int eight = coded.count / QUERIES;
                if (coded.count % QUERIES == 0)
                    coded.least[eight] = pending[i].at_least;
                coded.least[eight] = std::min(coded.least[eight], pending[i].at_least);
                coded.centres[coded.count++] = pending[i].centre;
            }
        bool has_codes = encode(b, coded, scratch);
        const Bucket &bucket = tree_.buckets[b];
        for (int64_t tile = bucket.first; tile < bucket.first + bucket.padded; tile += TILE)
            meet_tile(tile, coded, has_codes, scratch);
    }

    /* The centres' codes around the bucket's centroid; false where they would say nothing. */
    bool encode(int b, Coded &coded, Scratch &scratch) const {
        const float *middle = tree_.centroid(b);
        const int width = tree_.width;
        float largest = 0;
        for (int i = 0; i < coded.count; i++)
            largest = std::max(largest, tree_.loops.largest_difference(centres_[coded.centres[i]], middle, width));
        const float scale = largest / CODES;
        if (scale < FLATTEST || tree_.buckets[b].scale == 0)
            return false;
        coded.inverse = 1 / (2 * tree_.buckets[b].scale * scale);
        for (int i = 0; i < (coded.count + QUERIES - 1) / QUERIES * QUERIES; i++)
            if (i < coded.count)
                encode_one(i, middle, scale, coded, scratch);
            else
                nothing_near(i, coded, scratch);
        return true;
    }

    void encode_one(int i, const float *middle, float scale, Coded &coded, Scratch &scratch) const {
        Code made = tree_.loops.encode(centres_[coded.centres[i]], middle, tree_.width, scale, scratch.code.data());
        int32_t *fours = &scratch.codes[(size_t)(i / QUERIES) * QUERIES * (tree_.width / 4) + i % QUERIES];
        for (int g = 0; g < tree_.width / 4; g++)
            std::memcpy(&fours[g * QUERIES], &scratch.code[g * 4], 4);
        float squared = scale * scale * made.length;
        coded.residual =
            std::max(coded.residual, std::sqrt(made.missed) * tree_.up + std::sqrt(squared) * 1e-6f + 2 * SPECK);
        float limit = std::min(squared * (2 - tree_.up) * coded.inverse, CLIP);
        coded.more[i] = (int32_t)limit - 2 + 128 * made.sum;
    }

    void nothing_near(int i, Coded &coded, Scratch &scratch) const {
        for (int g = 0; g < tree_.width / 4; g++)
            scratch.codes[(size_t)(i / QUERIES) * QUERIES * (tree_.width / 4) + g * QUERIES + i % QUERIES] = 0;
        coded.more[i] = 1000000000;
    }

    /* A centre can only be nearer than a point's own if the product of their codes exceeds the point's limit plus what
     * the centre adds: |s p - t q|^2 = s^2 |p|^2 + t^2 |q|^2 - 2 s t p.q, and residuals hide at most their lengths. */
    void meet_tile(int64_t tile, const Coded &coded, bool has_codes, Scratch &scratch) {
        int32_t limits[TILE];
        bool known = false;
        for (int first = 0; first < coded.count; first += QUERIES) {
            if (!(coded.least[first / QUERIES] < reach_[tile / TILE]))
                continue;
            uint32_t near[QUERIES];
            if (!has_codes)
                std::fill(near, near + QUERIES, 0xffffffffu);
            else {
                if (!known)
                    tree_.loops.limits(&squared_[tile], &tree_.residual[tile], &tree_.code_length[tile], coded.residual,
                                       coded.inverse, tree_.up, limits);
                known = true;
                const int32_t *codes = &scratch.codes[(size_t)first * (tree_.width / 4)];
                if (!tree_.loops.near_codes(tree_.codes(tile), codes, tree_.width / 4, limits, &coded.more[first], near))
                    continue;
            }
            for (int q = 0; q < std::min(QUERIES, coded.count - first); q++)
                for (uint32_t left = near[q]; left; left &= left - 1)
                    if (lower(tile + __builtin_ctz(left), coded.centres[first + q]))
                        known = false; /* it has a tighter limit now */
        }
    }

    /* What is largest, and how far a centre may be and still matter: of each tile, and of the bucket. */
    void sum_up(int b) {
        const Bucket &bucket = tree_.buckets[b];
        State &state = state_[b];
        state.largest = state.reach = -1;
        for (int64_t tile = bucket.first; tile < bucket.first + bucket.padded; tile += TILE) {
            float largest, reach;
            tree_.loops.summary(&squared_[tile], &tree_.to_centroid[tile], tree_.up, &largest, &reach);
            reach_[tile / TILE] = reach;
            state.largest = std::max(state.largest, largest);
            state.reach = std::max(state.reach, reach);
        }
    }

    /* --- picking ------------------------------------------------------------------------------------------------- */

    struct Pool {
        std::vector<float> squared, rows;
        std::vector<int32_t> slots, positions, rank, buckets;
        size_t size() const { return slots.size(); }
    } pool_;

    void pick_from_pool(int64_t count, double stop_at, Clock::time_point until) {
        gather_pool();
        float top = *std::max_element(pool_.squared.begin(), pool_.squared.end());
        for (int made = 1; top > threshold_ && std::sqrt(top) > stop_at; made++) {
            const size_t farthest = lowest_at(top);
            take(farthest);
            drop(farthest);
            if ((int64_t)positions.size() == count || Clock::now() >= until)
                break;
            top = tree_.loops.lower(centres_.back(), pool_.rows.data(), (int)pool_.size(), tree_.width,
                                    (int32_t)positions.size() - 1, pool_.squared.data(), pool_.rank.data());
            if (made % 16 == 0)
                drop_what_is_below();
        }
        for (size_t i = 0; i < pool_.size(); i++)
            give_back(i);
        all_of((int64_t)pool_.buckets.size(), threads_, [&](int64_t i, int) {
            sum_up(pool_.buckets[i]);
            return true;
        });
    }

    /* Where in the pool the lowest position at this distance stands. */
    size_t lowest_at(float squared) const {
        size_t lowest = pool_.size();
        for (size_t i = 0; i < pool_.size(); i++)
            if (pool_.squared[i] == squared && (lowest == pool_.size() || pool_.positions[i] < pool_.positions[lowest]))
                lowest = i;
        return lowest;
    }

    /* All points above the threshold; where that would be many more than wanted, the threshold rises. */
    void gather_pool() {
        pool_.squared.clear();
        pool_.slots.clear();
        pool_.buckets.clear();
        for (size_t b = 0; b < state_.size(); b++)
            if (state_[b].largest > threshold_) {
                pool_.buckets.push_back((int32_t)b);
                for (int64_t slot = tree_.buckets[b].first; slot < tree_.buckets[b].first + tree_.buckets[b].count; slot++)
                    if (squared_[slot] > threshold_) {
                        pool_.squared.push_back(squared_[slot]);
                        pool_.slots.push_back((int32_t)slot);
                    }
            }
        if (pool_.size() > 2 * POOL) {
            raise_threshold();
            margin_ = std::max(1e-4f, margin_ * 0.7f);
        } else if (pool_.size() < POOL / 2)
            margin_ = std::min(0.5f, margin_ * 1.3f);
        pool_.rows.resize(pool_.size() * tree_.width);
        pool_.positions.resize(pool_.size());
        pool_.rank.resize(pool_.size());
        for (size_t i = 0; i < pool_.size(); i++) {
            std::copy_n(tree_.point(pool_.slots[i]), tree_.width, &pool_.rows[i * tree_.width]);
            pool_.positions[i] = tree_.position[pool_.slots[i]];
            pool_.rank[i] = rank_[pool_.slots[i]];
        }
    }

    void raise_threshold() {
        std::vector<float> sorted(pool_.squared);
        std::nth_element(sorted.begin(), sorted.begin() + POOL, sorted.end(), std::greater<float>());
        float raised = sorted[POOL], top = *std::max_element(sorted.begin(), sorted.end());
        const bool tied = !(raised < top);
        threshold_ = tied ? std::nextafter(top, 0.0f) : std::max(threshold_, raised);
        size_t kept = 0;
        for (size_t i = 0; i < pool_.size(); i++)
            if (pool_.squared[i] > threshold_) {
                pool_.squared[kept] = pool_.squared[i];
                pool_.slots[kept++] = pool_.slots[i];
            }
        pool_.squared.resize(kept);
        pool_.slots.resize(kept);
        if (tied)
            keep_the_lowest();
    }

    /* Thousands lie equally far, and nothing in the pool is nearer: as long as only picks at that very distance are
     * made, those of the lowest positions come first, and the others need not be here. */
    void keep_the_lowest() {
        auto before = [&](int32_t a, int32_t b) { return tree_.position[a] < tree_.position[b]; };
        const size_t kept = std::min<size_t>(POOL, pool_.size());
        std::nth_element(pool_.slots.begin(), pool_.slots.begin() + (int64_t)kept - 1, pool_.slots.end(), before);
        pool_.slots.resize(kept);
        pool_.squared.resize(kept);
    }

    void take(size_t i) {
        int64_t slot = pool_.slots[i];
        positions.push_back(pool_.positions[i]);
        insertion.push_back(pool_.squared[i]);
        centres_.push_back(tree_.point(slot));
        squared_[slot] = PICKED;
        rank_[slot] = (int32_t)positions.size() - 1;
    }

    void give_back(size_t i) {
        squared_[pool_.slots[i]] = pool_.squared[i];
        rank_[pool_.slots[i]] = pool_.rank[i];
    }

    void drop(size_t i) {
        size_t last = pool_.size() - 1;
        if (i != last) {
            pool_.squared[i] = pool_.squared[last];
            pool_.slots[i] = pool_.slots[last];
            pool_.positions[i] = pool_.positions[last];
            pool_.rank[i] = pool_.rank[last];
            std::copy_n(&pool_.rows[last * tree_.width], tree_.width, &pool_.rows[i * tree_.width]);
        }
        pool_.squared.pop_back();
        pool_.slots.pop_back();
        pool_.positions.pop_back();
        pool_.rank.pop_back();
    }

    void drop_what_is_below() {
        for (size_t i = pool_.size(); i-- > 0;)
            if (pool_.squared[i] <= threshold_) {
                give_back(i);
                drop(i);
            }
    }

    /* Only samples equal to a pick are left: they follow in canonical order. */
    void pick_twins(int64_t count, Clock::time_point until) {
        std::vector<int32_t> twins;
        for (int64_t slot = 0; slot < tree_.slots(); slot++)
            if (squared_[slot] == 0)
                twins.push_back(tree_.position[slot]);
        std::sort(twins.begin(), twins.end());
        for (int32_t position : twins) {
            if ((int64_t)positions.size() >= count || (positions.size() % LOOK == 0 && Clock::now() >= until))
                return;
            pick(position, 0);
        }
    }
};

} // namespace winnow

#endif
