"""Frames of videos: chosen as each video is decoded once, kept small, fetched again at full size when wanted.

A sample is a decoded frame: its id covers format, size and every pixel. The listing keeps two files for each video: its
index, and its pack, the small pictures one after the other. A video whose index is there is not decoded again. The
listing as a whole has an index named by its fingerprint, so two listings at one time do not take each other's away.
"""

import hashlib
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from queue import SimpleQueue
from typing import Any, BinaryIO, Final, TypeAlias
from weakref import finalize

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.datasets.atomic import appearing
from winnow.datasets.base import VIDEO_SUFFIXES, Kind, Limits, canonical, is_video
from winnow.datasets.beneath import Root, open_file
from winnow.datasets.folder import Walk, opened_folder
from winnow.datasets.snapshot import FRAMES_SCHEMA, fingerprint, frames_of
from winnow.datasets.video_decoder import VideoDecoder, require_video_support
from winnow.datasets.video_protocol import DONE, SAMPLE
from winnow.errors import DatasetEmpty, InvalidVectors, ItemError, JobCancelled, SourceGone, TooManyItems
from winnow.results import Ids, ItemFailure, Listing, Report, Vectors
from winnow.spec import Sampling

_FOLDER: Final = "videos"
_INDEX: Final = "frames-{}.parquet"  # of one listing
_VERSION: Final = 2  # rises when a video would be listed otherwise than before
_NUMBER_DIGITS: Final = 7  # of more frames than one video may have
_LOOK_S: Final = 0.2  # between two words to the caller, who may want an end
_AHEAD: Final = 256  # videos handed out before the first of them is done
_VIDEO: Final = b"video"  # said of a whole index
_DAMAGED: Final = b"damaged"

_SCHEMA: Final = pa.schema(
    [
        *(column for column in FRAMES_SCHEMA if column.name not in {"code", "detail"}),
        pa.field("pack", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("picture", pa.binary(32)),  # sha256 of the small picture
    ]
)


_Listed: TypeAlias = "pa.Table | ItemFailure"


class VideosReader:
    """`path` is a real path: `allowed_path` has followed its links. One video, or a folder of them at any depth.

    `alive` is called while a frame of full size is long in coming; what it raises ends the search.
    """

    kind: Kind = "images"
    reads_at_once = 1

    def __init__(
        self,
        path: Path,
        sampling: Sampling,
        folder: Path,
        limits: Limits,
        *,
        processes: int = 1,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._root = path.parent if path.is_file() else path
        self._sampling, self._folder = sampling, folder
        self._limits, self._processes, self._alive = limits, processes, alive
        self._decoder = VideoDecoder(limits.video)
        finalize(self, self._decoder.end)

    def list(self, report: Report) -> Listing:
        require_video_support()
        failures: list[ItemFailure] = []
        with opened_folder(self._root) as root:
            paths: Iterable[bytes] = [os.fsencode(self._path.name)]
            if self._path == self._root:
                paths = Walk(root, self._limits.max_items, failures, report, is_video)
            paths = sorted(paths)
            if not paths and not failures:
                known = ", ".join(suffix.removeprefix(".") for suffix in VIDEO_SUFFIXES)
                raise DatasetEmpty(f"the folder holds no video ({known})")
            walk = _Pass(root, self._folder / _FOLDER, self._sampling, self._limits, report, failures)
            tables = walk.run(paths, self._processes)
        whole = pa.concat_tables([_SCHEMA.empty_table(), *tables])
        found = zip(*(whole[name].to_pylist() for name in ("path", "sample_id", "bytes")), strict=True)
        listing = canonical(found, failures, frames_of(whole))
        with appearing(self._folder / _INDEX.format(fingerprint(listing).removeprefix("sha256:"))) as file:
            pq.write_table(whole, file, compression="zstd")
        self.__dict__.pop("_indexes", None)
        report("reading", len(whole), len(whole), len(failures))
        return listing

    def read(self, path: str, sample_id: bytes) -> bytes:
        """The small picture."""
        row = self._row(path, sample_id)
        try:
            with (self._folder / _FOLDER / f"{row['pack']}.pack").open("rb") as pack:
                pack.seek(row["offset"])
                picture = pack.read(row["bytes"])
        except OSError as error:
            raise ItemError("UNREADABLE", error.strerror or "") from error
        if hashlib.sha256(picture).digest() != row["picture"]:
            raise ItemError("CONTENT_CHANGED", "not the picture that was made at the listing")
        return picture

    def original(self, path: str, sample_id: bytes) -> bytes:
        """The frame at full size, as a PNG."""
        row = self._row(path, sample_id)
        with opened_folder(self._root) as root, open(open_file(root, row["video"].encode()), "rb") as video:
            wanted = row["frame"], row["pts"], sample_id
            return self._decoder.twice(lambda: self._decoder.frame(video.fileno(), *wanted, self._alive))

    def vectors(self) -> tuple[Ids, Vectors]:
        raise InvalidVectors("this dataset holds pictures, not vectors")

    def _row(self, path: str, sample_id: bytes) -> dict[str, Any]:
        found = [table.slice(rows[path], 1).to_pylist()[0] for table, rows in self._indexes if path in rows]
        if not found:
            raise ItemError("UNREADABLE", "no such frame was listed")
        row: dict[str, Any] | None = next((row for row in found if row["sample_id"] == sample_id), None)
        if row is None:
            raise ItemError("CONTENT_CHANGED", "not the frame that was listed")
        return row

    @cached_property
    def _indexes(self) -> tuple[tuple[pa.Table, dict[str, int]], ...]:
        """Of each listing everything it found, and the row of each path: one, unless two ran at one time."""
        tables = [pq.read_table(path).combine_chunks() for path in sorted(self._folder.glob(_INDEX.format("*")))]
        if not tables:
            raise SourceGone("the videos have not been listed, or what was kept of them is gone")
        return tuple((table, {path: row for row, path in enumerate(table["path"].to_pylist())}) for table in tables)


@dataclass
class _Pass:
    """One pass over all videos, several at a time."""

    root: Root
    folder: Path  # where indexes and packs lie
    sampling: Sampling
    limits: Limits
    report: Report
    failures: list[ItemFailure]
    samples: int = 0  # of the videos that are done
    running: dict[bytes, tuple[int, float]] = field(default_factory=dict)  # samples of the others, share decoded
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self, paths: list[bytes], processes: int) -> list[pa.Table]:
        """The index of each video that has one, in the order of the paths; the others become failures."""
        idle: SimpleQueue[VideoDecoder] = SimpleQueue()
        decoders = [VideoDecoder(self.limits.video) for _ in range(processes)]
        for decoder in decoders:
            idle.put(decoder)
        # The threads start the processes and outlive them: a process is told to die with the thread that made it.
        with ThreadPoolExecutor(processes, thread_name_prefix="video") as threads:
            try:
                ahead: deque[Future[_Listed]] = deque(threads.submit(self._one, path, idle) for path in paths[:_AHEAD])
                tables = []
                for done in range(len(paths)):
                    tables += self._taken(ahead.popleft(), done, len(paths))
                    ahead.extend(threads.submit(self._one, path, idle) for path in paths[done + _AHEAD :][:1])
                return tables
            finally:
                self.ended.set()
                threads.shutdown(cancel_futures=True)
                for decoder in decoders:
                    decoder.end()

    def _taken(self, future: Future[_Listed], done: int, videos: int) -> list[pa.Table]:
        """The index of the next video, if it has one; the caller hears of all of them while it is waited for."""
        while not future.done():
            self._tell(done, videos)
            wait([future], _LOOK_S)
        result = future.result()
        if isinstance(result, ItemFailure):
            self.failures.append(result)
            return []
        self.samples += len(result)
        self._tell(done + 1, videos)
        said = result.schema.metadata
        if damaged := int(said[_DAMAGED]):
            self.failures.append(ItemFailure(said[_VIDEO].decode(), "VIDEO_DAMAGED", f"{damaged} flaws"))
        return [result.replace_schema_metadata(None)]

    def _tell(self, done: int, videos: int) -> None:
        """How many samples there are, and how many there may be in the end."""
        running = [*self.running.copy().values()]
        samples = self.samples + sum(found for found, _ in running)
        if samples > self.limits.max_items:
            raise TooManyItems(f"the videos give more than {self.limits.max_items} frames; sample fewer of them")
        share = (done + sum(decoded for _, decoded in running)) / videos
        expected = max(samples + 1, round(samples / share)) if share > 0.01 else 0
        self.report("reading", samples, expected, len(self.failures))

    def _one(self, path: bytes, idle: SimpleQueue[VideoDecoder]) -> _Listed:
        try:
            name = path.decode("utf-8")
        except UnicodeDecodeError:
            return ItemFailure(path.decode("utf-8", "replace"), "NAME_NOT_UTF8")
        decoder = idle.get()
        try:
            with open(open_file(self.root, path), "rb") as video:
                return self._indexed(name, video, decoder)
        except ItemError as error:
            return ItemFailure(name, error.code, error.detail)
        finally:
            idle.put(decoder)
            self.running.pop(path, None)

    def _indexed(self, name: str, video: BinaryIO, decoder: VideoDecoder) -> pa.Table:
        """From the index, where this very file has one."""
        status = os.fstat(video.fileno())
        said = [_VERSION, name, status.st_size, status.st_mtime_ns, *self.sampling.rule]
        key = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]
        index = self.folder / f"{key}.parquet"
        if index.exists() and (self.folder / f"{key}.pack").exists():
            return pq.read_table(index)
        table = decoder.twice(lambda: self._decoded(name, video, decoder, key))
        with appearing(index) as file:
            pq.write_table(table, file)
        return table

    def _decoded(self, name: str, video: BinaryIO, decoder: VideoDecoder, key: str) -> pa.Table:
        """The pack first: an index speaks of nothing that is not there."""
        rows: list[dict[str, Any]] = []
        offset, damaged = 0, 0
        with appearing(self.folder / f"{key}.pack") as pack:
            for kind, facts, picture in decoder.samples(video.fileno(), *self.sampling.rule):
                if self.ended.is_set():
                    raise JobCancelled
                if kind == SAMPLE:
                    pack.write(picture)
                    self.running[name.encode()] = len(rows) + 1, min(1.0, facts.pop("share"))
                    rows.append(_row(name, facts, picture) | {"pack": key, "offset": offset})
                    offset += len(picture)
                elif kind == DONE:
                    damaged = facts["damaged"]
        return pa.Table.from_pylist(rows, schema=_SCHEMA.with_metadata({_VIDEO: name, _DAMAGED: str(damaged)}))


def _row(video: str, facts: dict[str, Any], picture: bytes) -> dict[str, Any]:
    return facts | {
        "path": frame_path(video, facts["frame"]),
        "video": video,
        "sample_id": bytes.fromhex(facts["sample_id"]),
        "bytes": len(picture),
        "picture": hashlib.sha256(picture).digest(),
    }


def frame_path(video: str, number: int) -> str:
    """`yard/gate.mp4` -> `yard/gate-0000012-mp4.png`; no two frames of a dataset share one."""
    path = PurePosixPath(video)
    return str(path.with_name(f"{path.stem}-{number:0{_NUMBER_DIGITS}d}-{path.suffix.removeprefix('.')}.png"))
