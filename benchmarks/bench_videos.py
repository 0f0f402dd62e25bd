"""Times the listing of videos against the barest decode loop there is, in turns, and how fast frames are copied out.

    python benchmarks/bench_videos.py [--frames 300] [--width 1280] [--height 720] [--pictures FOLDER] [--rounds 3]

Two videos (H.264, a keyframe every 250 frames, B-frames) are made in a temporary folder, of the pictures if a folder is
given, and of waves and noise otherwise. It prints one table row a rule and asserts nothing.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np
from PIL import Image

from winnow.datasets import Limits
from winnow.datasets.video import VideosReader
from winnow.results import silent
from winnow.spec import Sampling

RULES = {
    "fps 1": Sampling(fps=1),
    "fps 5": Sampling(fps=5),
    "every frame": Sampling(every_nth=1),
    "keyframes": Sampling(keyframes=True),
    "scene change": Sampling(scene_change=0.3),
}


def pictures(folder: Path | None, width: int, height: int) -> Iterator[np.ndarray]:
    if folder is not None:
        for path in cycle(sorted(folder.rglob("*.jpg"))):
            yield np.asarray(Image.open(path).convert("RGB").resize((width, height)))
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 6, (height, width, 1))
    rows, columns = np.mgrid[0:height, 0:width]
    for number in cycle(range(10_000)):
        waves = np.sin(columns / 40 + number / 9) * 50 + np.cos(rows / 25 - number / 13) * 50
        colours = np.stack([waves + 128, waves / 2 + 90, 160 - waves], axis=2)
        yield (colours + np.roll(grain, number * 3, axis=1)).clip(0, 255).astype(np.uint8)


def make(path: Path, frames: int, source: Iterator[np.ndarray]) -> None:
    with av.open(str(path), "w") as out:
        stream = None
        for pixels in islice(source, frames):
            if stream is None:
                stream = out.add_stream("libx264", rate=30, options={"preset": "veryfast"})
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuv420p"
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())


def bare(path: Path) -> None:
    with av.open(str(path)) as video:
        for _ in video.decode(video=0):
            pass


def listed(path: Path, rule: Sampling, processes: int = 1) -> VideosReader:
    with tempfile.TemporaryDirectory() as folder:
        reader = VideosReader(path, rule, Path(folder), Limits(), processes=processes)
        reader.list(silent)
    return reader


def seconds(act: Callable[[], object]) -> tuple[float, float]:
    """Of the clock, and of processors, those of ended children included."""
    began, spent = time.perf_counter(), _spent()
    act()
    return time.perf_counter() - began, _spent() - spent


def _spent() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        source = pictures(asked.pictures, asked.width, asked.height)
        for name in ("one.mp4", "two.mp4"):
            make(folder / name, asked.frames, source)
        compare(folder, asked.frames, asked.rounds)
        copy_out(folder / "one.mp4")


def compare(folder: Path, frames: int, rounds: int) -> None:
    """Each round measures everything once, so that what else the machine does falls on all alike."""
    one = folder / "one.mp4"
    acts: dict[str, tuple[int, Callable[[], object]]] = {"bare PyAV loop": (frames, lambda: bare(one))}
    acts |= {f"listing, {name}": (frames, lambda rule=rule: listed(one, rule)) for name, rule in RULES.items()}
    acts["listing, fps 1, two videos at a time"] = (2 * frames, lambda: listed(folder, RULES["fps 1"], 2))
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name, (_, act) in acts.items():
            took[name].append(seconds(act))
    print("| what | frames/s | CPU ms a frame | against the loop: clock, CPU |\n|---|---|---|---|")
    bare_wall, bare_cpu = (min(times) / frames for times in zip(*took["bare PyAV loop"], strict=True))
    for name, (count, _) in acts.items():
        wall, cpu = (min(times) / count for times in zip(*took[name], strict=True))
        print(f"| {name} | {1 / wall:.0f} | {1000 * cpu:.2f} | {bare_wall / wall:.2f}, {bare_cpu / cpu:.2f} |")


def copy_out(video: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        reader = VideosReader(video, RULES["fps 1"], Path(folder), Limits())
        listing = reader.list(silent)
        wanted = sorted(zip(listing.paths, listing.ids, strict=True), key=lambda sample: sample[0])
        wall, _ = seconds(lambda: [reader.original(path, row.tobytes()) for path, row in wanted])
    print(f"| copying out one frame a second | {len(wanted) / wall:.1f} | | |")


if __name__ == "__main__":
    main()
