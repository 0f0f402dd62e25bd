/* A loop over items for all threads, which ends early and lets no exception get lost. */
#ifndef WINNOW_PARALLEL_HPP
#define WINNOW_PARALLEL_HPP

#include <atomic>
#include <cstdint>
#include <exception>
#include <omp.h>

namespace winnow {

/* `work(item, thread)` for every item; once it has returned false, or thrown, no further item is begun. Whether all
 * were done. What was thrown, where memory is short above all, is thrown again here: out of a thread of OpenMP's it would
 * end the process. */
template <class Work> bool all_of(int64_t items, int threads, Work work) {
    std::atomic<bool> stopped{false};
    std::exception_ptr thrown;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int64_t item = 0; item < items; item++) {
        if (stopped.load(std::memory_order_relaxed))
            continue;
        try {
            if (!work(item, omp_get_thread_num()))
                stopped = true;
        } catch (...) {
#pragma omp critical(winnow_thrown)
            thrown = std::current_exception();
            stopped = true;
        }
    }
    if (thrown)
        std::rethrow_exception(thrown);
    return !stopped;
}

} // namespace winnow
#endif
