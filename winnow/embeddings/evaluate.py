"""Holds an encoder against a folder laid out as ILSVRC2012: a linear classifier on its vectors, Acc@1 and Acc@5.

Pictures go through the encoder's own preprocessing, which for backbones is the usual one: the shorter side to 256,
the middle 224 x 224. The head that brings vectors to their final length is fitted on what is learned from, and on
nothing that is measured.
"""

import math
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from winnow import quality
from winnow.datasets.base import Limits
from winnow.datasets.decoders import DecoderPool
from winnow.datasets.folder import FolderReader
from winnow.embeddings import Encoder, Runtime, get_encoder
from winnow.embeddings.cache import ShardCache
from winnow.embeddings.extract import extract
from winnow.embeddings.head import apply, headed
from winnow.errors import InvalidRequest
from winnow.results import Listing, Report, silent
from winnow.spec import EncoderSpec, OnError

_MEASURED: Final = 5  # without train/, one of so many pictures of a class is measured, the others are learned from
_MAX_PIXELS: Final = 64_000_000
_TOP: Final = 5
_Z: Final = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class Share:
    """Of the measured pictures: the mean over seeds, Wilson's 95 % interval over pictures, and how seeds differ."""

    value: float
    low: float
    high: float
    spread: float


@dataclass(frozen=True)
class Evaluation:
    """What a linear classifier makes of an encoder's vectors."""

    top1: Share
    top5: Share
    version: str
    dimension: int
    classes: int
    learned: int  # pictures, for one seed
    measured: int
    seeds: tuple[int, ...]
    unusable: int


@dataclass(frozen=True)
class _Draw:
    """Paths to learn from and paths to measure, `part/class/...` each."""

    seed: int
    learn: list[str]
    measure: list[str]


def evaluate(
    folder: Path,
    asked: EncoderSpec,
    *,
    per_class: int | None,
    seeds: int,
    cache: Path | None,
    processes: int,
    runtime: Runtime,
    report: Report = silent,
) -> Evaluation:
    parts = [part for part in ("train", "val") if (folder / part).is_dir()]
    if "val" not in parts:
        raise InvalidRequest("the folder must hold val/CLASS/*, and may hold train/CLASS/*")
    encoder = get_encoder(asked.name, runtime)
    reader = FolderReader(folder.resolve(), Limits())
    listing = _below(reader.list(report), parts)
    draws = _draws(listing.paths, has_train="train" in parts, per_class=per_class, seeds=seeds)
    wanted = {path for draw in draws for path in (*draw.learn, *draw.measure)}
    rows = _embedded(_only(listing, wanted), reader, encoder, cache, processes, report)
    hits = [_hits(draw, rows, asked) for draw in draws]
    return Evaluation(
        top1=_share([hit[:, 0] for hit in hits]),
        top5=_share([np.asarray(hit.any(axis=1)) for hit in hits]),
        version=encoder.version,
        dimension=asked.wanted(encoder.dimension)[1],
        classes=len({_class(path) for path in draws[0].learn}),
        learned=sum(path in rows for path in draws[0].learn),
        measured=len(hits[0]),
        seeds=tuple(draw.seed for draw in draws),
        unusable=len(wanted) - len(rows),
    )


def _draws(paths: list[str], *, has_train: bool, per_class: int | None, seeds: int) -> list[_Draw]:
    """Where there is train/ it is learned from and all of val/ is measured; else val/ is divided, each seed anew."""
    source, held = _by_class(path for path in paths if path.startswith("train/" if has_train else "val/")), []
    if has_train:
        held = [path for path in paths if path.startswith("val/")]
    drawn = seeds if per_class or not has_train else 1
    return [_draw(seed, source, held, per_class) for seed in range(drawn)]


def _draw(seed: int, source: dict[str, list[str]], held: list[str], per_class: int | None) -> _Draw:
    learn: list[str] = []
    measure = [*held]
    for place, name in enumerate(sorted(source)):
        order = np.random.default_rng([seed, place]).permutation(sorted(source[name])).tolist()
        aside = 0 if held else math.ceil(len(order) / _MEASURED)
        measure += order[:aside]
        learn += order[aside:][:per_class]
    if len({_class(path) for path in learn}) < 2 or not measure:
        raise InvalidRequest("there must be pictures of two classes or more to learn from, and others to measure with")
    return _Draw(seed, learn, measure)


def _embedded(
    listing: Listing, reader: FolderReader, encoder: Encoder, cache: Path | None, processes: int, report: Report
) -> dict[str, NDArray[np.float32]]:
    """The raw vector of each usable path; copies have that of their first."""
    with ExitStack() as stack:
        kept = cache or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="winnow-evaluate-")))
        pool = stack.enter_context(DecoderPool(processes, _MAX_PIXELS, encoder.size, crop=encoder.crop))
        found = extract(listing, reader, encoder, ShardCache(kept), pool, report, on_error=OnError())
    rows = dict(zip(found.paths, found.vectors, strict=True))
    return rows | {path: rows[first] for path, first in found.duplicates.items()}


def _hits(draw: _Draw, rows: dict[str, NDArray[np.float32]], asked: EncoderSpec) -> NDArray[np.bool_]:
    """(n, 5): whether the classifier's first, second ... guess at each measured picture is right."""
    learn, measure = ([path for path in paths if path in rows] for paths in (draw.learn, draw.measure))
    names, classes = np.unique([_class(path) for path in learn], return_inverse=True)
    vectors, head = headed(asked, np.stack([rows[path] for path in learn]))
    shown = np.stack([rows[path] for path in measure])
    shown = shown if head is None else apply(head, shown)
    mean, spread = vectors.mean(axis=0), float((vectors - vectors.mean(axis=0)).std()) or 1.0
    fitted = quality.probe((vectors - mean) / spread, classes, np.ones(len(learn), bool), draw.seed)
    return _first_right(fitted.predict_proba((shown - mean) / spread), names[fitted.classes_], measure)


def _first_right(chances: NDArray[np.float64], names: NDArray[np.str_], measure: list[str]) -> NDArray[np.bool_]:
    guesses = np.argsort(-chances, axis=1, kind="stable")[:, :_TOP]
    truth = np.array([_class(path) for path in measure])
    return np.asarray(names[guesses] == truth[:, None])


def _share(hits: list[NDArray[np.bool_]]) -> Share:
    shares = [float(np.mean(hit)) for hit in hits]
    value, n = float(np.mean(shares)), len(hits[0])
    middle, scale = (value + _Z**2 / (2 * n)) / (1 + _Z**2 / n), _Z / (1 + _Z**2 / n)
    half = scale * math.sqrt(value * (1 - value) / n + _Z**2 / (4 * n * n))
    return Share(value, middle - half, middle + half, float(np.std(shares, ddof=1)) if len(shares) > 1 else 0.0)


def _class(path: str) -> str:
    return path.split("/")[1]


def _by_class(paths: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        found[_class(path)].append(path)
    return found


def _below(listing: Listing, parts: list[str]) -> Listing:
    return _only(listing, {path for path in listing.paths if path.count("/") >= 2 and path.split("/")[0] in parts})


def _only(listing: Listing, wanted: set[str]) -> Listing:
    keep = np.flatnonzero([path in wanted for path in listing.paths])
    return Listing(listing.ids[keep], [listing.paths[at] for at in keep], listing.sizes[keep])
