"""What the stages hand to each other: frozen, columnar, shape and dtype beside each field.

Sample ids are sha256 digests held as rows of bytes, `(n, 32) uint8`; hex appears only at the edges.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint8]  # (n, 32)
Vectors = NDArray[np.float32]  # (n, d)
Positions = NDArray[np.int64]  # (k,)
Distances = NDArray[np.float32]  # (k,)

NO_PTS: Final = -(2**63)  # as FFmpeg says it


class Reason(StrEnum):
    """Why a sample is not in the selection."""

    EXACT_DUPLICATE = "EXACT_DUPLICATE"
    COVERED_BY_KEPT = "COVERED_BY_KEPT"
    OVER_BUDGET = "OVER_BUDGET"


@dataclass(frozen=True)
class ItemFailure:
    """One item set aside, with the reason."""

    path: str
    code: str  # one of errors.ITEM_CODES
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.path[:100]!r}: {self.code}"


@dataclass(frozen=True)
class Frames:
    """Where each sample stands in a video, or in another sequence of pictures; row for row beside the samples."""

    videos: list[str]  # (n,) path of the video, or of the folder that holds the sequence
    numbers: NDArray[np.int64]  # (n,) in presentation order, from 0
    pts: NDArray[np.int64]  # (n,) presentation time in the stream's own unit, NO_PTS where there is none
    times_s: NDArray[np.float64]  # (n,) the same in seconds, NaN where unknown
    shapes: NDArray[np.int32]  # (n, 2) width, height of the upright frame; 0 where only decoding tells

    def take(self, rows: Positions) -> "Frames":
        return Frames(
            videos=[self.videos[row] for row in rows],
            numbers=self.numbers[rows],
            pts=self.pts[rows],
            times_s=self.times_s[rows],
            shapes=self.shapes[rows],
        )


@dataclass(frozen=True)
class Listing:
    """The snapshot of a source in canonical order: by sample id, then path. Duplicates are still in it."""

    ids: Ids  # (n, 32) sha256 of each item's bytes
    paths: list[str]  # (n,) relative to the dataset's root, '/'-separated
    sizes: NDArray[np.int64]  # (n,) bytes
    failures: list[ItemFailure] = field(default_factory=list)  # unreadable at listing time
    frames: Frames | None = None  # where the samples are frames

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class Labels:
    """What somebody said of the samples of an `Embedded`, row for row."""

    values: list[str]  # (m,) '' where nothing is known
    tests: NDArray[np.bool_]  # (m,) those that only measure


@dataclass(frozen=True)
class Embedded:
    """The distinct samples that could be embedded, in canonical order, with their vectors."""

    ids: Ids  # (m, 32), strictly increasing
    paths: list[str]  # (m,) the first path of each group of exact duplicates
    sizes: NDArray[np.int64]  # (m,)
    vectors: Vectors  # (m, d) C-contiguous float32, finite
    shapes: NDArray[np.int32]  # (m, 2) width, height after EXIF orientation; 0 where unknown
    failures: list[ItemFailure]  # listing and decoding failures together
    duplicates: dict[str, str]  # path of each exact duplicate -> path of its representative
    frames: Frames | None = None  # where the samples are frames


@dataclass(frozen=True)
class Head:
    """What made an encoder's vectors shorter: `(row - mean) @ matrix`."""

    kind: str  # pca, pca-whitening
    mean: NDArray[np.float64]  # (d,)
    matrix: NDArray[np.float64]  # (d, k) directions as columns; zeros where there was no variance left
    explained: NDArray[np.float64]  # (k,) share of the variance each stands for
    rows: int  # samples it was fitted on


@dataclass(frozen=True)
class Proof:
    """Why no selection of as many samples could leave all others nearer than `lower_bound` to a kept one.

    The kept samples and `next_picks` are one more than `each` times as many as are kept, so some sample of any such
    selection has more than `each` of them within its radius. No sample comes nearer to that than `witness`, from which
    the first beyond the `each` nearest is `lower_bound` away.
    """

    lower_bound: float  # rounded down: it holds in exact arithmetic
    each: int
    next_picks: Positions
    witness: int  # position


@dataclass(frozen=True)
class Selection:
    """A ranking of positions into `Embedded`, and what explains it."""

    positions: Positions  # (k,) rank order
    insertion: NDArray[np.float32]  # (k,) distance to everything ranked before; inf for the first
    nearest: NDArray[np.int64]  # (m,) the kept position nearest to each sample (itself if kept)
    distance: NDArray[np.float32]  # (m,) distance to `nearest`
    covered_at: NDArray[np.int64]  # (m,) rank that brought `nearest`
    full_rank: NDArray[np.int64] | None = None  # (m,) budget at which a sample would be kept, -1 unknown
    radius: float = 0.0  # largest `distance`
    proof: Proof | None = None  # where the method can give one
    notes: dict[str, Any] = field(default_factory=dict)  # method-specific facts for the manifest


@dataclass(frozen=True)
class Insight:
    """One finding as JSON-ready data; `plots` turns it into a picture."""

    name: str
    title: str
    data: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """All that is known once a dataset has its vectors; `worker/outputs.py` turns it into files."""

    listing: Listing
    embedded: Embedded
    digests: dict[str, str]  # input, embedding -> 'sha256:<hex>'
    versions: dict[str, str]
    timings_s: dict[str, float]
    head: Head | None = None  # that made the vectors shorter, where one did


@dataclass(frozen=True, kw_only=True)
class Outcome(Embedding):
    """All that a finished selection knows; its digests also say `selection`."""

    selection: Selection
    insights: list[Insight]


class Report(Protocol):
    """Progress out, cancellation in: called by stages between units of work.

    Raises `JobCancelled` when the caller wants an end. `total` may be 0 while unknown.
    """

    def __call__(self, stage: str, done: int, total: int, skipped: int = 0) -> None: ...


def silent(stage: str, done: int, total: int, skipped: int = 0) -> None:
    """A `Report` for callers that do not watch."""
