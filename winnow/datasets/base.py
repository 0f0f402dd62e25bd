"""What a source is to the pipeline, the limits it is held to, and the one order all samples stand in."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from winnow.errors import ItemError
from winnow.results import Frames, Ids, ItemFailure, Listing, Report, Vectors

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg")

Kind = Literal["images", "vectors"]


@dataclass(frozen=True, kw_only=True)
class VideoLimits:
    """What one video may cost; one that passes any of them is VIDEO_TOO_LARGE."""

    max_pixels: int = 64_000_000  # of a frame
    max_streams: int = 64
    max_seconds: int = 12 * 3600  # from the first frame to the last
    max_frames: int = 3_000_000
    max_fps: int = 1000  # over any time from the start
    max_decode_s: int = 2 * 3600  # of one processor


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one dataset may cost."""

    max_items: int = 20_000_000
    max_item_bytes: int = 256 << 20
    max_archive_bytes: int = 1 << 40  # an archive unpacks, and a list of URLs fetches, this much at most; an archive
    archive_ratio: int = 20  # no more than this many times its size
    archive_slack_bytes: int = 1 << 30  # plus this
    max_ratio: int = 200  # one entry of a zip may unpack to this many times its packed size
    video: VideoLimits = VideoLimits()


class Reader(Protocol):
    """An opened source. `kind` says whether its samples are pictures to `read` or have `vectors`; the other refuses.

    A dataset is a snapshot, whatever happens to its source: a sample is asked for by its path and the id it was listed
    under, and what is no longer that sample is an ItemError CONTENT_CHANGED.
    """

    @property
    def kind(self) -> Kind: ...

    @property
    def reads_at_once(self) -> int:
        """How many threads may `read` to advantage: one for what lies here, more where each waits for a network."""
        ...

    def list(self, report: Report) -> Listing:
        """Everything the source holds, hashed, in canonical order; items that cannot be read are its failures."""
        ...

    def read(self, path: str, sample_id: bytes) -> bytes:
        """A picture file of the sample, large enough to embed and to look at. ItemError where it cannot be read."""
        ...

    def original(self, path: str, sample_id: bytes) -> bytes:
        """The sample as it is to be labelled: the same file, or one of more pixels."""
        ...

    def vectors(self) -> tuple[Ids, Vectors]:
        """Every usable row in canonical order, exact duplicates included, with the ids they were listed under."""
        ...


def unchanged(content: bytes, sample_id: bytes) -> bytes:
    """The content of a sample whose id is the hash of its bytes, if it still is."""
    if hashlib.sha256(content).digest() != sample_id:
        raise ItemError("CONTENT_CHANGED", "not the bytes that were listed")
    return content


def is_picture(name: str) -> bool:
    """Whether a file is an item: its name ends like a picture's and no part of its path is hidden.

    What an item really is shows when it is decoded. Any other file (labels, notes) is no item and no failure either.
    """
    return _is_shown(name) and name.lower().endswith(PICTURE_SUFFIXES)


def is_video(name: str) -> bool:
    """The same of a video."""
    return _is_shown(name) and name.lower().endswith(VIDEO_SUFFIXES)


def _is_shown(name: str) -> bool:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def canonical(
    found: Iterable[tuple[str, bytes, int]], failures: Iterable[ItemFailure] = (), frames: Frames | None = None
) -> Listing:
    """(path, sha256, size) in any order, each with its row of `frames`, becomes a listing by sample id, then path."""
    rows = list(found)
    ids = np.frombuffer(b"".join(row[1] for row in rows), np.uint8).reshape(len(rows), 32)
    order = canonical_order(ids, [row[0] for row in rows])
    return Listing(
        ids=np.ascontiguousarray(ids[order]),
        paths=[rows[position][0] for position in order],
        sizes=np.array([rows[position][2] for position in order], np.int64),
        failures=in_order(failures),
        frames=frames.take(order) if frames is not None else None,
    )


def canonical_order(ids: Ids, paths: Sequence[str]) -> NDArray[np.int64]:
    """Positions by the 32 bytes of the id, read as four big-endian numbers, then by path."""
    by_path = np.array(sorted(range(len(paths)), key=paths.__getitem__), np.int64)
    words = np.ascontiguousarray(ids[by_path]).view(">u8").astype(np.uint64)
    by_id = np.lexsort((words[:, 3], words[:, 2], words[:, 1], words[:, 0]))  # stable: equal ids stay by path
    return by_path[by_id]


def in_order(failures: Iterable[ItemFailure]) -> list[ItemFailure]:
    return sorted(failures, key=lambda failure: (failure.path, failure.code))
