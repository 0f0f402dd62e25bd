"""Times the way from picture files to vectors: decoding alone, the network alone, both, and a plain script beside them.

    python benchmarks/bench_embedding.py FOLDER [--encoder winnow-64] [--large 200] [--threads 2]

The plain script is what one writes first: Pillow decodes and resizes in the workers of a torch DataLoader, the same
network runs as it was built. With --large so many pictures are enlarged to 1920 x 1280 first and used instead. Each
way runs in a process of its own; what is printed is images a second by the clock, CPU seconds for a thousand images,
and peak memory of the process and its children. Nothing is asserted.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
from PIL import Image

SUFFIXES: Final = {".jpg", ".jpeg", ".png"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="winnow-64")
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as scratch:
        folder = enlarged(asked.folder, Path(scratch) / "large", asked.large) if asked.large else asked.folder
        count = len(pictures_of(folder))
        print("| way | images/s | CPU s for 1,000 | peak MiB |\n|---|---|---|---|")
        for name, way in WAYS.items():
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
                wall, cpu, mib = fresh.submit(timed, way, folder, asked.encoder, asked.threads).result()
            print(f"| {name} | {count / wall:.0f} | {1000 * cpu / count:.2f} | {mib:.0f} |", flush=True)


def timed(
    way: Callable[..., Callable[[], object]], folder: Path, encoder: str, threads: int
) -> tuple[float, float, float]:
    import torch

    torch.set_num_threads(threads)
    run = way(folder, encoder, threads)
    began, used = time.perf_counter(), cpu_s()
    run()
    wall, used = time.perf_counter() - began, cpu_s() - used
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return wall, used, sum(peaks) / 1024


def cpu_s() -> float:
    """Of this process and of the children it has waited for."""
    return sum(os.times()[:4])


def pictures_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def enlarged(folder: Path, into: Path, count: int) -> Path:
    into.mkdir()
    for number, path in enumerate(pictures_of(folder)[:count]):
        picture = Image.open(path).convert("RGB").resize((1920, 1280), Image.Resampling.BICUBIC)
        picture.save(into / f"{number:05d}.jpg", quality=90)
    return into


# --- the ways: each prepares, and returns the work proper ---------------------------------------------------------


def decoding(folder: Path, encoder: str, threads: int) -> Callable[[], object]:
    from winnow.datasets.decoders import DecoderPool
    from winnow.embeddings import get_encoder

    made = get_encoder(encoder)
    items = [(path.name, path.read_bytes()) for path in pictures_of(folder)]

    def run() -> None:
        with DecoderPool(threads, 10**9, made.size, crop=made.crop) as pool:
            for _ in pool.decode(items):
                pass

    return run


def network(folder: Path, encoder: str, _threads: int) -> Callable[[], object]:
    from winnow.embeddings import get_encoder

    made = get_encoder(encoder)
    seen = np.random.default_rng(0).integers(0, 256, (64, made.size, made.size, 3), np.uint8)
    made.embed(list(seen))
    batches = -(-len(pictures_of(folder)) // 64)
    return lambda: [made.embed(list(seen)) for _ in range(batches)]


def pipeline(folder: Path, encoder: str, threads: int) -> Callable[[], object]:
    from winnow.datasets.base import Limits
    from winnow.datasets.decoders import DecoderPool
    from winnow.datasets.folder import FolderReader
    from winnow.embeddings import get_encoder
    from winnow.embeddings.cache import ShardCache
    from winnow.embeddings.extract import extract
    from winnow.results import silent
    from winnow.spec import OnError

    made = get_encoder(encoder)
    made.embed([np.zeros((made.size, made.size, 3), np.uint8)])
    reader = FolderReader(folder.resolve(), Limits())
    listing = reader.list(silent)

    def run() -> None:
        with (
            tempfile.TemporaryDirectory(prefix="winnow-bench-") as cache,
            DecoderPool(threads, 10**9, made.size, crop=made.crop) as pool,
        ):
            extract(listing, reader, made, ShardCache(Path(cache)), pool, silent, on_error=OnError())

    return run


def plain_script(folder: Path, encoder: str, threads: int) -> Callable[[], object]:
    import torch
    from torch.utils.data import DataLoader, Dataset

    from winnow.embeddings import backbone, student
    from winnow.encoders import ENCODERS

    entry = ENCODERS[encoder]
    built = student.Student().eval() if encoder == "winnow-64" else backbone._built(entry)

    class Pictures(Dataset[Any]):
        paths = pictures_of(folder)

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, at: int) -> Any:
            picture = Image.open(self.paths[at]).convert("RGB").resize((entry.size, entry.size))
            return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255

    @torch.inference_mode()
    def run() -> None:
        for batch in DataLoader(Pictures(), batch_size=64, num_workers=threads, multiprocessing_context="fork"):
            built(batch)

    return run


WAYS: Final[dict[str, Callable[..., Callable[[], object]]]] = {
    "decoding alone": decoding,
    "network alone": network,
    "whole pipeline": pipeline,
    "plain script": plain_script,
}

if __name__ == "__main__":
    main()
