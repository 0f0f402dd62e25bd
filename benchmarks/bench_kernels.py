"""Times the kernels and what else can be installed, on the same data, each in a process of its own.

    python benchmarks/bench_kernels.py peers   [--rows 100000] [--count 10000]   against other people's greedy k-center
    python benchmarks/bench_kernels.py shapes  [--rows 1000000] [--count 100000] on the four shapes of data
    python benchmarks/bench_kernels.py adjacency [--rows 100000]
    python benchmarks/bench_kernels.py covers  [--rows 1000000] [--count 100000] of random samples
    python benchmarks/bench_kernels.py certificates [--rows 100000] [--count 10000] how good greedy is, on five shapes
    python benchmarks/bench_kernels.py growth  [--most 1000000] [--plot docs/growth.png]

Prints a table row as soon as it is known: wall and CPU seconds, and peak memory over the input as a multiple of it. A
peer that is not installed is left out (`pip install lightly_mundig fpsample`). Nothing is asserted.
"""

import argparse
import importlib.util
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np

import kernels
from kernels import reference

WIDTH: Final = 64
SHAPES: Final = ("100 clusters", "1000 clusters", "patches", "gaussian")
UNIFORM: Final = "uniform"


def data(shape: str, rows: int) -> Any:
    """(rows, 64) float32 of one of SHAPES, or UNIFORM, the same every time."""
    rng = np.random.default_rng(0)
    if shape == "gaussian":
        return rng.normal(size=(rows, WIDTH)).astype(np.float32)
    if shape == UNIFORM:
        return rng.random((rows, WIDTH), np.float32)
    if shape == "patches":
        return patches(rows, rng)
    middles = (rng.normal(size=(int(shape.split(maxsplit=1)[0]), WIDTH)) * 3).astype(np.float32)
    return middles[rng.integers(0, len(middles), rows)] + rng.normal(size=(rows, WIDTH)).astype(np.float32)


def patches(rows: int, rng: np.random.Generator) -> Any:
    """Grey squares of 8 x 8 pixels out of pictures: of WINNOW_BENCH_PICTURES, or of the demo's rendered ones."""
    from PIL import Image

    folder = Path(os.environ.get("WINNOW_BENCH_PICTURES", ".winnow/demo/pictures"))
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".png"})
    if not files:
        raise SystemExit(f"no picture below {folder}: run `make demo` first, or set WINNOW_BENCH_PICTURES")
    cut = []
    for path in files:
        pixels = np.asarray(Image.open(path).convert("L"), np.float32) / 255
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (8, 8))
        each = rows // len(files) + 1
        cut.append(windows[rng.integers(0, len(windows), each), rng.integers(0, windows.shape[1], each)])
    flat = np.concatenate(cut).reshape(-1, WIDTH)
    return np.ascontiguousarray(flat[rng.permutation(len(flat))[:rows]])


# --- what is timed: each takes the data, prepares, and returns the work proper -----------------------

Work = Callable[[], object]


def coreset(vectors: Any, count: int, threads: int) -> Work:
    return partial(kernels.coreset, vectors, count, n_threads=threads)


def adjacency_kept(vectors: Any, count: int, threads: int) -> Work:
    return partial(kernels.adjacency, vectors, count, n_threads=threads)


def cover(vectors: Any, count: int, threads: int) -> Work:
    kept = np.random.default_rng(0).permutation(len(vectors))[:count]
    return partial(kernels.cover, vectors, kept, n_threads=threads)


def insertions(vectors: Any, count: int, threads: int) -> Work:
    kept = np.random.default_rng(0).permutation(len(vectors))[:count]
    return partial(kernels.insertion_distances, vectors, kept, n_threads=threads)


def plain(vectors: Any, count: int, threads: int) -> Work:
    """Our arithmetic without any trick: every pick looks at every sample."""
    return partial(kernels.CoresetRun(vectors, n_threads=threads, plain=True).run, count)


def twin(vectors: Any, count: int, _threads: int) -> Work:
    return partial(reference.coreset, vectors, count)


def numpy_loop(vectors: Any, count: int, _threads: int) -> Work:
    """As active-learning code on the web has it: one product with all samples a pick."""

    def work() -> None:
        lengths = np.einsum("ij,ij->i", vectors, vectors)
        nearest, pick = np.full(len(vectors), np.inf, np.float32), 0
        for _ in range(count):
            nearest = np.minimum(nearest, lengths + lengths[pick] - 2 * (vectors @ vectors[pick]))
            pick = int(nearest.argmax())

    return work


def mundig(vectors: Any, count: int, _threads: int) -> Work:
    from lightly_mundig import Selection

    selection = Selection()
    selection.add_diversifying_strategy(vectors.tolist(), 1.0, None)
    return partial(selection.run_selection, [], len(vectors), count)


def fpsample(vectors: Any, count: int, _threads: int) -> Work:
    from fpsample import fps_sampling

    return partial(fps_sampling, vectors, count, start_idx=0)


WORKS: Final[dict[str, Callable[[Any, int, int], Work]]] = {
    "kernels.coreset": coreset,
    "kernels.adjacency": adjacency_kept,
    "kernels.cover": cover,
    "kernels.insertion_distances": insertions,
    "plain loop": plain,
    "numpy loop": numpy_loop,
    "numpy twin": twin,
    "lightly_mundig": mundig,
    "fpsample": fpsample,
}

# --- timing -----------------------------------------------------------------------------------------


def measured(work: str, shape: str, rows: int, count: int, threads: int) -> tuple[float, float, float]:
    """Wall and CPU seconds, and peak memory over the input as a multiple of it; in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (work, shape, rows, count, threads))


def measure(work: str, shape: str, rows: int, count: int, threads: int) -> tuple[float, float, float]:
    vectors = data(shape, rows)
    do = WORKS[work](vectors, count, threads)
    Path("/proc/self/clear_refs").write_text("5")  # from here on the peak is the work's
    before = resident()
    wall, cpu = time.monotonic(), time.process_time()
    do()
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    return wall, cpu, (resident("VmHWM") - before) / vectors.nbytes


def resident(what: str = "VmRSS") -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) << 10


def row(work: str, shape: str, rows: int, count: int, threads: int, *, share: int = 1) -> float:
    """Print what was measured; `share` > 1 measures so many times fewer picks, and says so."""
    wall, cpu, memory = measured(work, shape, rows, count // share, threads)
    times = f"{wall * share:.2f} | {cpu * share:.2f}"
    note = f" (times {share}, from {count // share:,} picks)" if share > 1 else ""
    print(
        f"| {work} | {shape} | {rows:,} x {WIDTH} | {count:,} | {threads} | {times} | {memory:.2f} |{note}", flush=True
    )
    return cpu * share


def head() -> None:
    names = ("what", "data", "samples", "kept", "threads", "wall s", "CPU s", "memory x input")
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")


def peers(rows: int, count: int) -> None:
    head()
    row("kernels.coreset", "100 clusters", rows, count, 1)
    row("kernels.coreset", "100 clusters", rows, count, 2)
    for work in ("plain loop", "lightly_mundig", "fpsample", "numpy loop", "numpy twin"):
        if importlib.util.find_spec(work) or " " in work:
            row(work, "100 clusters", rows, count, 1, share=1 if work == "lightly_mundig" else 10)


def shapes(rows: int, count: int) -> None:
    head()
    for shape in SHAPES:
        for threads in (1, 2):
            row("kernels.coreset", shape, rows, count, threads)


def adjacency(rows: int) -> None:
    head()
    for shape in SHAPES:
        row("kernels.adjacency", shape, rows, rows // 2, 2)


def covers(rows: int, count: int) -> None:
    head()
    for shape in SHAPES:
        for work in ("kernels.cover", "kernels.insertion_distances"):
            row(work, shape, rows, count, 2)


def certificates(rows: int, count: int) -> None:
    """The radius over what no selection can beat, and the seconds that picking and proving take."""
    print("| data | samples | kept | ratio | points each | picking s | proving s |\n|---|---|---|---|---|---|---|")
    for shape in (*SHAPES, UNIFORM):
        vectors = data(shape, rows)
        run, seconds = kernels.CoresetRun(vectors, n_threads=1), [time.process_time()]
        run.run(count)
        radius = float(run.cover().distance.max())
        seconds.append(time.process_time())
        bounds = []
        for each in (1, 2, 3):
            run.run(each * count + 1)
            bounds.append((kernels.lower_bound(vectors, run.cover(), each=each, n_threads=1).distance, each))
        seconds.append(time.process_time())
        bound, each = max(bounds)
        picking, proving = np.diff(seconds)
        cells = (f"{rows:,}", f"{count:,}", f"{radius / bound:.2f}", each, f"{picking:.2f}", f"{proving:.2f}")
        print(f"| {shape} | {' | '.join(map(str, cells))} |", flush=True)


def growth(most: int, plot: Path | None) -> None:
    """CPU seconds against the number of samples (a tenth kept) and against the number kept."""
    head()
    sizes = [size for size in (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 5_000_000) if size <= most]
    counts = [most // 1000, most // 300, most // 100, most // 30, most // 10]
    lines = {
        "samples, a tenth kept": (sizes, [row("kernels.coreset", "100 clusters", n, n // 10, 1) for n in sizes]),
        f"kept, of {most:,}": (counts, [row("kernels.coreset", "100 clusters", most, k, 1) for k in counts]),
    }
    for name, (amounts, seconds) in lines.items():
        print(f"exponent over {name}: {np.polyfit(np.log(amounts), np.log(seconds), 1)[0]:.2f}")
    if plot is not None:
        draw(lines, plot)


def draw(lines: dict[str, tuple[list[int], list[float]]], plot: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="number", ylabel="CPU seconds, one thread")
    for name, (amounts, seconds) in lines.items():
        exponent = np.polyfit(np.log(amounts), np.log(seconds), 1)[0]
        axes.plot(amounts, seconds, "o-", label=f"{name}: exponent {exponent:.2f}")
    axes.legend(frameon=False)
    figure.savefig(plot, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=("peers", "shapes", "adjacency", "covers", "certificates", "growth"))
    parser.add_argument("--rows", type=int)
    parser.add_argument("--count", type=int)
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    if asked.table == "peers":
        peers(asked.rows or 100_000, asked.count or 10_000)
    elif asked.table == "shapes":
        shapes(asked.rows or 1_000_000, asked.count or 100_000)
    elif asked.table == "adjacency":
        adjacency(asked.rows or 100_000)
    elif asked.table == "covers":
        covers(asked.rows or 1_000_000, asked.count or 100_000)
    elif asked.table == "certificates":
        certificates(asked.rows or 100_000, asked.count or 10_000)
    else:
        growth(asked.most, asked.plot)


if __name__ == "__main__":
    main()
