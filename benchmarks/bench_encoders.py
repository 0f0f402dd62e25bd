"""Times networks on this processor: as they are built, and as encoders run them, turn by turn in one process.

    python benchmarks/bench_encoders.py [--rounds 5] [--encoders winnow-64 torchvision/resnet50 ...]

Prints images a CPU second of the forward pass alone, the best of the rounds. The weights are whatever the network was
made with: time does not depend on them. Nothing is asserted.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Final

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

from winnow.embeddings import backbone, student, winnow_64
from winnow.embeddings.forward import Forward, fused, in_colours
from winnow.encoders import ENCODERS, Entry

PICTURES: Final = 64
DEFAULT: Final = (
    "winnow-64",
    "torchvision/resnet18",
    "torchvision/resnet50",
    "timm/vit_small_patch14_dinov2.lvd142m",
    "timm/convnext_tiny.fb_in22k",
)
CPU: Final = torch.device("cpu")

Run = Callable[[list[np.ndarray]], np.ndarray]


def network(entry: Entry) -> torch.nn.Module:
    return student.Student().eval() if entry.name == "winnow-64" else backbone._built(entry)


def plain(entry: Entry) -> Run:
    """What one writes first: float32, channels first, nothing folded, the batch as it comes."""
    built = network(entry)

    @torch.inference_mode()
    def run(pictures: list[np.ndarray]) -> np.ndarray:
        seen = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous().float() / 255
        return np.concatenate([built(part).numpy() for part in seen.split(32)])

    return run


def ours(entry: Entry, dtype: torch.dtype) -> Run:
    small = entry.name == "winnow-64"
    as_input = student.scaled if small else in_colours(entry.mean, entry.std)
    batch = winnow_64._BATCH if small else backbone._BATCH["cpu"]
    return Forward(fused(network(entry)), as_input, entry.size, entry.width, CPU, dtype, batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--encoders", nargs="+", default=DEFAULT)
    asked = parser.parse_args()
    torch.set_num_threads(1)  # so that CPU seconds are what one core does, whoever else is at work
    print("| encoder | eager | ours, float32 | ours, bfloat16 | ratio |\n|---|---|---|---|---|")
    for name in asked.encoders:
        entry = ENCODERS[name]
        ways = [plain(entry), ours(entry, torch.float32), ours(entry, torch.bfloat16)]
        pictures = list(np.random.default_rng(0).integers(0, 256, (PICTURES, entry.size, entry.size, 3), np.uint8))
        best = [0.0] * len(ways)
        for turn in range(asked.rounds + 1):  # the first turn only warms up
            for place, way in enumerate(ways):
                began = time.process_time()
                way(pictures)
                best[place] = max(best[place], PICTURES / (time.process_time() - began) if turn else 0.0)
        used = best[1] if name == "winnow-64" else best[2]  # which stays in float32
        print(f"| {name} | {best[0]:.0f} | {best[1]:.0f} | {best[2]:.0f} | {used / best[0]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
