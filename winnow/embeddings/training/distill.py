"""Makes the weights of `winnow-64`: the student learns to say in 64 numbers what the teacher says in 1,280.

    python -m winnow.embeddings.training.distill --data DIR --work DIR --epochs 12

No label is looked at. The work folder keeps the crops, a checkpoint every few minutes (the same command goes on from
it), and `curve.jsonl`. Twice the same command gives the same weights on the same machine and number of threads.
"""

import argparse
import copy
import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from winnow.embeddings.forward import fused
from winnow.embeddings.student import DIMENSION, Student, as_input
from winnow.embeddings.training.crops import Crops, crops_of

_BATCH: Final = 128
_RATE: Final = 2e-3
_WARM_UP: Final = 500  # steps
_DECAY: Final = 0.02
_DETAIL: Final = 256  # principal components that the layer before the last learns
_HELD_BACK: Final = 2048  # crops that only measure
_SAVE_EVERY_S: Final = 240.0


@dataclass
class Targets:
    """The teacher's principal components, over the square root of the variance they hold together."""

    mean: NDArray[np.float32]  # (1280,)
    axes: NDArray[np.float32]  # (1280, 256)

    def of(self, vectors: NDArray[np.float16]) -> torch.Tensor:
        return torch.from_numpy((vectors.astype(np.float32) - self.mean) @ self.axes)


class Run:
    """The student, its optimiser and where they are; all of it is in a checkpoint."""

    def __init__(self, crops: Crops, epochs: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.crops, self.epochs, self.seed, self.step = crops, epochs, seed, 0
        self.order = np.random.default_rng(seed).permutation(len(crops.vectors))
        self.targets = _targets(crops.vectors[np.sort(self.order[_HELD_BACK : _HELD_BACK + 40_000])])
        self.student = Student().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.detail = nn.Linear(self.student.head.in_features, _DETAIL)
        weights = [*self.student.parameters(), *self.detail.parameters()]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [w for w in weights if w.ndim > 1], "weight_decay": _DECAY},
                {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
            ],
            _RATE,
        )

    @property
    def steps_an_epoch(self) -> int:
        return (len(self.order) - _HELD_BACK) // _BATCH

    def train(self, work: Path) -> None:
        saved_at, told = time.monotonic(), []
        while self.step < self.epochs * self.steps_an_epoch:
            for rows in self._epoch():
                told.append(self._learn(rows))
                if time.monotonic() - saved_at > _SAVE_EVERY_S:
                    self.save(work / "checkpoint.pt")
                    saved_at = time.monotonic()
            self._tell(work / "curve.jsonl", float(np.mean(told[-self.steps_an_epoch :])))
            self.save(work / "checkpoint.pt")

    def _epoch(self) -> Iterator[NDArray[np.int64]]:
        """The batches of the running epoch that are still to come."""
        epoch, done = divmod(self.step, self.steps_an_epoch)
        rows = np.random.default_rng([self.seed, epoch]).permutation(self.order[_HELD_BACK:])
        for step in range(done, self.steps_an_epoch):
            yield np.sort(rows[step * _BATCH : (step + 1) * _BATCH])

    def _learn(self, rows: NDArray[np.int64]) -> float:
        rate = _rate(self.step, self.epochs * self.steps_an_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        pooled = self.student.pooled(_pictures(self.crops, rows))
        wanted = self.targets.of(self.crops.vectors[rows])
        coarse = F.mse_loss(self.student.head(pooled), wanted[:, :DIMENSION], reduction="sum")
        loss = (coarse + F.mse_loss(self.detail(pooled), wanted, reduction="sum")) / len(rows)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.step += 1
        return float(coarse.detach()) / len(rows)

    def _tell(self, path: Path, loss: float) -> None:
        line = {"epoch": self.step // self.steps_an_epoch, "left_unsaid": loss, "held_back": self.left_unsaid()}
        print(json.dumps(line), flush=True)
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    @torch.inference_mode()
    def left_unsaid(self) -> float:
        """The share of the first 64 components' variance that the student misses, on crops it never saw."""
        self.student.eval()
        missed = held = 0.0
        for begin in range(0, _HELD_BACK, _BATCH):
            rows = np.sort(self.order[begin : begin + _BATCH])
            wanted = self.targets.of(self.crops.vectors[rows])[:, :DIMENSION]
            missed += float((self.student(_pictures(self.crops, rows)) - wanted).square().sum())
            held += float(wanted.square().sum())
        self.student.train()
        return missed / held

    def save(self, path: Path) -> None:
        part = path.with_suffix(".part")
        torch.save({"step": self.step, **{name: module.state_dict() for name, module in self._parts().items()}}, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.step = state["step"]
        for name, module in self._parts().items():
            module.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "student": self.student,
            "detail": self.detail,
            "optimiser": self.optimiser,
        }


def _targets(vectors: NDArray[np.float16]) -> Targets:
    centred = vectors.astype(np.float32)
    mean = centred.mean(0)
    centred -= mean
    variance, axes = np.linalg.eigh((centred.T @ centred) / len(centred))
    axes = axes[:, ::-1][:, :_DETAIL]
    return Targets(mean, (axes / math.sqrt(variance[::-1][:DIMENSION].sum())).astype(np.float32))


def _pictures(crops: Crops, rows: NDArray[np.int64]) -> torch.Tensor:
    return as_input(crops.pictures[rows])


def _rate(step: int, steps: int) -> float:
    """Up in a line, down in a cosine."""
    if step < _WARM_UP:
        return _RATE * (step + 1) / _WARM_UP
    return _RATE * 0.5 * (1 + math.cos(math.pi * (step - _WARM_UP) / max(1, steps - _WARM_UP)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the archives and of weights/")
    parser.add_argument("--work", type=Path, required=True, help="folder for crops, checkpoints and the curve")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    weights = asked.data / "weights" / "mobilenet_v2_tf2_dequant_f16.npz"
    run = Run(crops_of(asked.data, asked.work / "crops", weights, asked.seed), asked.epochs, asked.seed)
    if (asked.work / "checkpoint.pt").exists():
        run.load(asked.work / "checkpoint.pt")
    run.train(asked.work)
    ship(run.student, asked.work / "winnow-64.safetensors")


def ship(student: nn.Module, path: Path) -> None:
    """The weights as the package carries them: folded, in half precision; and the hash the encoder pins."""
    network = fused(copy.deepcopy(student).eval())
    halves = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    safetensors.torch.save_file(halves, path)
    print(f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}", flush=True)


if __name__ == "__main__":
    main()
