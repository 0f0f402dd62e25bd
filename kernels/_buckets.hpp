/* Points in buckets of neighbours: what lets a search leave most of the data alone.
 *
 * A tree of 16-means cuts the points into buckets of some hundred. Inside a bucket the points lie in order of falling
 * distance to the centroid, in tiles of 32, each also as one byte a dimension: the point is the centroid plus `scale`
 * times its code, but for a residual whose length is known. Sixteen buckets that follow each other form a group.
 *
 * Nothing here decides anything. Every bound leaves room for rounding: `up` and `down` for relative errors of the
 * canonical distance and of products, SPECK for underflow. docs/kernels.md has the proofs. */
#ifndef WINNOW_BUCKETS_HPP
#define WINNOW_BUCKETS_HPP

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>

#include "_loops.hpp"
#include "_parallel.hpp"

namespace winnow {

constexpr int LEAF = 1024;      /* points a bucket holds at most */
constexpr int FAN = 16;         /* children of a node, buckets of a group */
constexpr int TILE = 32;
constexpr int SAMPLED = 2048;   /* points that place the means of a node */
constexpr int ROUNDS = 5;       /* of moving them */
constexpr int64_t WIDE = 65536; /* nodes larger than this are cut by all threads together */
constexpr int64_t SLICE = 1 << 22; /* coordinates a thread looks at between two calls of the watcher */
constexpr float FLATTEST = 1e-15f; /* a bucket of a smaller scale has no codes worth looking at */

struct Bucket {
    int64_t first; /* slot */
    int count, padded;
    float radius, scale;
};

struct Group {
    int first, count; /* buckets */
    float radius;
    std::vector<float> columns; /* (width, 16): each bucket's centroid from the group's own */
    float lengths[FAN];         /* of the columns, squared */
};

/* Called between slices of some ten milliseconds of building; what is not 0 ends it. */
struct Watcher {
    int (*look)(void *);
    void *context;
    void operator()() const {
        if (look(context) != 0)
            throw std::runtime_error("ended by its watcher");
    }
};

/* Memory of the process, or of a file that the kernel pages in and out: for more than the machine can hold. */
class Room {
  public:
    Room() = default;
    Room(const Room &) = delete;
    Room &operator=(const Room &) = delete;
    ~Room() {
        if (start_)
            munmap(start_, bytes_);
    }

    void make(int64_t bytes, int file) {
        bytes_ = (size_t)bytes + 64;
        if (file >= 0 && posix_fallocate(file, 0, (off_t)bytes_) != 0) /* a full disk says so now, not at a write */
            throw std::bad_alloc();
        const int kind = file >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
        void *mapped = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, kind, file, 0);
        if (mapped == MAP_FAILED)
            throw std::bad_alloc();
        start_ = mapped;
#ifdef MADV_HUGEPAGE
        madvise(start_, bytes_, MADV_HUGEPAGE); /* fewer faults to fill it, fewer misses to look rows up; or nothing */
#endif
    }

    void *start() const { return start_; }

  private:
    void *start_ = nullptr;
    size_t bytes_ = 0;
};

class Buckets {
  public:
    const Loops &loops;
    const int64_t n;
    const int dimension, width; /* width: the dimension, up to a multiple of 16 */
    const float up, down;
    std::vector<Bucket> buckets;
    std::vector<Group> groups;
    std::vector<int32_t> bucket_of; /* of each tile */
    std::vector<int32_t> position;  /* of each slot; -1 where a tile is filled up */
    std::vector<float> to_centroid; /* of each slot: at least its distance to the centroid */
    std::vector<float> code_length; /* squared length of scale times code */
    std::vector<float> residual;    /* at least the length of what the code leaves out */
    std::vector<float> centroids, group_centroids;

    /* `scratch`: a file to keep the points in, or -1. */
    Buckets(const float *vectors, int64_t n, int dimension, int level, int threads, Watcher watch, int scratch)
        : loops(loops_of(level)), n(n), dimension(dimension), width((dimension + 15) / 16 * 16),
          up(1 + (dimension + 64) * 2.4e-7f), down(1 - (dimension + 64) * 2.4e-7f), vectors_(vectors),
          threads_(threads), watch_(watch), slice_(std::max<int64_t>(FAN, threads * SLICE / width)) {
        order_.resize(n);
        std::iota(order_.begin(), order_.end(), 0);
        label_.resize(n);
        sorted_.resize(n);
        cut();
        lay_out(scratch);
        std::vector<int32_t>().swap(order_);
        std::vector<int32_t>().swap(sorted_);
        std::vector<uint8_t>().swap(label_);
    }

    int64_t slots() const { return (int64_t)position.size(); }
    const float *point(int64_t slot) const { return static_cast<const float *>(points_.start()) + slot * width; }
    const float *centroid(int bucket) const { return &centroids[(int64_t)bucket * width]; }
    const float *group_centroid(int group) const { return &group_centroids[(int64_t)group * width]; }
    const uint8_t *codes(int64_t slot) const { return static_cast<const uint8_t *>(codes_.start()) + slot * width; } /* of a tile's first slot */

    /* What the distance between two rows, in exact arithmetic, does not exceed. */
    float at_most(const float *a, const float *b) const { return std::sqrt(loops.squared(a, b, width)) * up + SPECK; }

    /* What the distances of up to four rows to the centroids of a group do not fall below: out[4 * 16]. `scratch`
     * holds 4 * width. */
    void at_least(const Group &group, const float *own, const float *const rows[4], int count, float *scratch,
                  float *out) const {
        const float *shifted[4];
        float lengths[4] = {0, 0, 0, 0};
        for (int r = 0; r < 4; r++) {
            float *to = scratch + (int64_t)r * width;
            shifted[r] = to;
            const float *row = rows[r < count ? r : 0];
            lengths[r] = loops.shift(row, own, width, to);
        }
        float products[4 * FAN];
        loops.products(shifted, group.columns.data(), width, products);
        for (int r = 0; r < count; r++)
            for (int b = 0; b < FAN; b++) {
                float both = lengths[r] + group.lengths[b];
                float squared = both * (1 - 4 * (up - 1)) - 2 * products[r * FAN + b];
                out[r * FAN + b] = std::sqrt(std::max(0.0f, squared)) - SPECK;
            }
    }

  private:
    const float *vectors_;
    const int threads_;
    const Watcher watch_;
    const int64_t slice_;                 /* points */
    std::vector<int32_t> order_, sorted_; /* positions, bucket by bucket; room to reorder them */
    std::vector<uint8_t> label_;          /* of each place in order_: the child it goes to */
    std::vector<int64_t> leaves_;         /* where each bucket begins in order_ */
    Room points_, codes_;

    struct Range {
        int64_t begin, end;
        int64_t size() const { return end - begin; }
    };

    const float *row(int32_t position) const { return vectors_ + (int64_t)position * dimension; }

    /* --- the tree: large nodes one after the other, by all threads; small ones side by side ------------------- */

    void cut() {
        std::vector<Range> large = {{0, n}}, small;
        while (!large.empty()) {
            Range range = large.back();
            large.pop_back();
            for (Range child : children(range, true))
                (child.size() > WIDE ? large : small).push_back(child);
        }
        std::vector<std::vector<int64_t>> found(small.size());
        in_slices((int64_t)small.size(), 4, [&](int64_t i) { leaves_of(small[i], found[i]); });
        for (auto &some : found)
            leaves_.insert(leaves_.end(), some.begin(), some.end());
        std::sort(leaves_.begin(), leaves_.end());
    }

    /* Some items a thread and slice, the watcher in between. */
    template <class Work> void in_slices(int64_t items, int64_t each, Work work) const {
        for (int64_t begin = 0; begin < items; begin += each * threads_) {
            const int64_t end = std::min(items, begin + each * threads_);
            all_of(end - begin, threads_, [&](int64_t i, int) {
                work(begin + i);
                return true;
            });
            watch_();
        }
    }

    void leaves_of(Range range, std::vector<int64_t> &found) {
        std::vector<Range> open = {range};
        while (!open.empty()) {
            Range next = open.back();
            open.pop_back();
            if (next.size() <= LEAF)
                found.push_back(next.begin);
            else
                for (Range child : children(next, false))
                    open.push_back(child);
        }
    }

    /* Reorder a range by the nearest of up to sixteen means; a range that does not fall apart is cut in halves.
     * `together`: by all threads and watched; else by the calling thread alone. */
    std::vector<Range> children(Range range, bool together) {
        if (range.size() <= LEAF)
            return {range};
        int fan = (int)std::min<int64_t>(FAN, (range.size() + LEAF * 2 / 3 - 1) / (LEAF * 2 / 3));
        std::vector<float> columns((int64_t)dimension * FAN);
        float halves[FAN];
        place_means(range, fan, columns, halves);
        for (int64_t begin = range.begin; begin < range.end; begin += slice_) {
            const int64_t end = std::min(range.end, begin + slice_);
#pragma omp parallel for schedule(static) num_threads(threads_) if (together)
            for (int64_t at = begin; at < end; at += 4)
                label_four(&order_[at], (int)std::min<int64_t>(4, end - at), columns.data(), halves, &label_[at]);
            if (together)
                watch_();
        }
        int64_t begins[FAN + 1] = {0};
        for (int64_t at = range.begin; at < range.end; at++)
            begins[label_[at] + 1]++;
        for (int c = 0; c < FAN; c++)
            begins[c + 1] += begins[c];
        int64_t next[FAN];
        std::copy(begins, begins + FAN, next);
        for (int64_t at = range.begin; at < range.end; at++)
            sorted_[range.begin + next[label_[at]]++] = order_[at];
        std::copy(&sorted_[range.begin], &sorted_[range.begin] + range.size(), &order_[range.begin]);
        return ranges(range, begins);
    }

    static std::vector<Range> ranges(Range range, const int64_t *begins) {
        std::vector<Range> found;
        for (int c = 0; c < FAN; c++) {
            Range child = {range.begin + begins[c], range.begin + begins[c + 1]};
            if (child.size() == range.size()) /* twins, or all around one mean */
                return {{range.begin, range.begin + range.size() / 2}, {range.begin + range.size() / 2, range.end}};
            bool crumb = !found.empty() && (child.size() < LEAF / 8 || found.back().size() < LEAF / 8);
            if (crumb && found.back().size() + child.size() <= LEAF)
                found.back().end = child.end;
            else if (child.size())
                found.push_back(child);
        }
        return found;
    }

    /* Lloyd's algorithm on a sample, from rows that lie evenly in the order. */
    void place_means(Range range, int fan, std::vector<float> &columns, float *halves) const {
        int64_t sampled = std::min<int64_t>(SAMPLED, range.size());
        std::vector<int32_t> sample(sampled);
        for (int64_t i = 0; i < sampled; i++)
            sample[i] = order_[range.begin + i * range.size() / sampled];
        std::vector<float> means((int64_t)FAN * dimension);
        for (int c = 0; c < fan; c++)
            std::copy_n(row(sample[c * sampled / fan]), dimension, &means[(int64_t)c * dimension]);
        std::vector<uint8_t> label(sampled);
        for (int round = 0; round < ROUNDS; round++) {
            pack(means, fan, columns, halves);
            for (int64_t i = 0; i < sampled; i += 4)
                label_four(&sample[i], (int)std::min<int64_t>(4, sampled - i), columns.data(), halves, &label[i]);
            move_means(sample, label, means);
        }
        pack(means, fan, columns, halves);
    }

    void pack(const std::vector<float> &means, int fan, std::vector<float> &columns, float *halves) const {
        for (int c = 0; c < FAN; c++) {
            double length = 0;
            for (int j = 0; j < dimension; j++) {
                float value = c < fan ? means[(int64_t)c * dimension + j] : 0;
                columns[(int64_t)j * FAN + c] = value;
                length += (double)value * value;
            }
            halves[c] = c < fan ? (float)(length / 2) : INFINITY;
        }
    }

    void label_four(const int32_t *at, int count, const float *columns, const float *halves, uint8_t *label) const {
        const float *rows[4];
        for (int r = 0; r < 4; r++)
            rows[r] = row(at[r < count ? r : 0]);
        float products[4 * FAN];
        loops.products(rows, columns, dimension, products);
        for (int r = 0; r < count; r++) {
            int best = 0;
            for (int c = 1; c < FAN; c++)
                if (products[r * FAN + c] - halves[c] > products[r * FAN + best] - halves[best])
                    best = c;
            label[r] = (uint8_t)best;
        }
    }

    void move_means(const std::vector<int32_t> &sample, const std::vector<uint8_t> &label, std::vector<float> &means) const {
        std::vector<double> sums((int64_t)FAN * dimension, 0.0);
        int64_t members[FAN] = {0};
        for (size_t i = 0; i < sample.size(); i++) {
            members[label[i]]++;
            const float *x = row(sample[i]);
            double *sum = &sums[(int64_t)label[i] * dimension];
            for (int j = 0; j < dimension; j++)
                sum[j] += x[j];
        }
        for (int c = 0; c < FAN; c++)
            if (members[c])
                for (int j = 0; j < dimension; j++)
                    means[(int64_t)c * dimension + j] = (float)(sums[(int64_t)c * dimension + j] / (double)members[c]);
    }

    /* --- the layout ------------------------------------------------------------------------------------------ */

    void lay_out(int scratch) {
        int64_t slots = 0;
        for (size_t b = 0; b < leaves_.size(); b++) {
            int64_t end = b + 1 < leaves_.size() ? leaves_[b + 1] : n;
            int count = (int)(end - leaves_[b]);
            buckets.push_back({slots, count, (count + TILE - 1) / TILE * TILE, 0, 0});
            bucket_of.insert(bucket_of.end(), buckets.back().padded / TILE, (int32_t)b);
            slots += buckets.back().padded;
        }
        points_.make(slots * width * 4, scratch);
        codes_.make(slots * width, -1);
        position.assign(slots, -1);
        to_centroid.assign(slots, 0);
        code_length.assign(slots, 0);
        residual.assign(slots, 0);
        centroids.assign((int64_t)buckets.size() * width, 0);
        in_slices((int64_t)buckets.size(), 16, [&](int64_t b) { fill(buckets[b], leaves_[b], &centroids[b * width]); });
        for (int first = 0; first < (int)buckets.size(); first += FAN)
            groups.push_back({first, std::min<int>(FAN, (int)buckets.size() - first), 0, {}, {}});
        group_centroids.assign((int64_t)groups.size() * width, 0);
        in_slices((int64_t)groups.size(), 64, [&](int64_t g) { gather(groups[g], &group_centroids[g * width]); });
    }

    void fill(Bucket &bucket, int64_t begin, float *centre) {
        std::vector<double> sums(dimension, 0.0);
        for (int i = 0; i < bucket.count; i++)
            for (int j = 0; j < dimension; j++)
                sums[j] += row(order_[begin + i])[j];
        for (int j = 0; j < dimension; j++)
            centre[j] = (float)(sums[j] / bucket.count);
        float *points = static_cast<float *>(points_.start()) + bucket.first * width;
        std::fill(points, points + (int64_t)bucket.padded * width, 0.0f);
        for (int i = 0; i < bucket.count; i++)
            std::copy_n(row(order_[begin + i]), dimension, points + (int64_t)i * width);
        std::vector<float> squared(bucket.padded, 0.0f);
        loops.squared_to_all(centre, points, bucket.count, width, squared.data());
        std::vector<int> farthest_first(bucket.count);
        std::iota(farthest_first.begin(), farthest_first.end(), 0);
        std::stable_sort(farthest_first.begin(), farthest_first.end(), [&](int a, int b) { return squared[a] > squared[b]; });
        for (int i = 0; i < bucket.count; i++) {
            int64_t slot = bucket.first + i;
            position[slot] = order_[begin + farthest_first[i]];
            to_centroid[slot] = std::sqrt(squared[farthest_first[i]]) * up + SPECK;
            std::copy_n(row(position[slot]), dimension, points + (int64_t)i * width);
        }
        bucket.radius = bucket.count ? to_centroid[bucket.first] : 0;
        encode(bucket, centre);
    }

    void encode(Bucket &bucket, const float *centre) {
        float largest = 0;
        for (int i = 0; i < bucket.count; i++)
            largest = std::max(largest, loops.largest_difference(point(bucket.first + i), centre, width));
        bucket.scale = largest / CODES < FLATTEST ? 0 : largest / CODES; /* 0: has no codes */
        std::vector<int8_t> code(width, 0);
        for (int i = 0; i < bucket.padded && bucket.scale > 0; i++) {
            int64_t slot = bucket.first + i;
            uint8_t *half = static_cast<uint8_t *>(codes_.start()) + (slot - i % 16) * width; /* 16 points of four dimensions after each other */
            if (i < bucket.count)
                encode_one(bucket, slot, centre, code.data());
            for (int j = 0; j < width; j++)
                half[(j / 4) * 64 + (i % 16) * 4 + j % 4] = (uint8_t)(code[j] + 128);
        }
    }

    void encode_one(const Bucket &bucket, int64_t slot, const float *centre, int8_t *code) {
        Code made = loops.encode(point(slot), centre, width, bucket.scale, code);
        code_length[slot] = bucket.scale * bucket.scale * made.length;
        residual[slot] = std::sqrt(made.missed) * up + bucket.radius * 1e-6f + SPECK;
    }

    void gather(Group &group, float *own) {
        std::vector<double> sums(width, 0.0);
        int64_t members = 0;
        for (int b = group.first; b < group.first + group.count; b++) {
            members += buckets[b].count;
            for (int j = 0; j < width; j++)
                sums[j] += (double)centroid(b)[j] * buckets[b].count;
        }
        for (int j = 0; j < width; j++)
            own[j] = (float)(sums[j] / (double)members);
        group.columns.assign((int64_t)width * FAN, 0);
        for (int b = 0; b < FAN; b++) {
            double length = 0;
            bool real = b < group.count;
            for (int j = 0; j < width && real; j++) {
                float value = centroid(group.first + b)[j] - own[j];
                group.columns[(int64_t)j * FAN + b] = value;
                length += (double)value * value;
            }
            group.lengths[b] = (float)length;
            if (real)
                group.radius = std::max(group.radius, at_most(own, centroid(group.first + b)) + buckets[group.first + b].radius);
        }
    }
};

} // namespace winnow
#endif
