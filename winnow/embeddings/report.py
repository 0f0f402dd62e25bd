"""Holds an encoder against a labelled folder: what its vectors are worth there."""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from winnow import quality
from winnow.datasets.base import Limits
from winnow.datasets.decode import decode
from winnow.datasets.decoders import DecoderPool
from winnow.datasets.folder import FolderReader
from winnow.datasets.labels import labels_of, read_labels
from winnow.embeddings import Encoder, Runtime, get_encoder
from winnow.embeddings.cache import ShardCache
from winnow.embeddings.extract import extract
from winnow.embeddings.head import apply, headed
from winnow.errors import InvalidRequest, ItemError
from winnow.results import Report, silent
from winnow.spec import EncoderSpec, OnError

_TWINS: Final = 500  # pictures of which a near-duplicate is made
_MAX_PIXELS: Final = 64_000_000
_MAX_ROWS: Final = 10_000_000
_ANYWHERE: Final = Runtime()


def report_on(
    folder: Path, labels: Path, name: str, *, processes: int, runtime: Runtime = _ANYWHERE, report: Report = silent
) -> quality.Quality:
    """`labels` is a table with the columns path (below the folder), label, and split: test, or another word.

    Without a split every fifth picture, in the order of their content, is a test.
    """
    said = {path: (label, split) for path, label, split in zip(*_columns(labels), strict=True)}
    encoder, reader = get_encoder(name, runtime), FolderReader(folder.resolve(), Limits())
    listing = reader.list(report)
    with (
        tempfile.TemporaryDirectory(prefix="winnow-report-") as cache,
        DecoderPool(processes, _MAX_PIXELS, encoder.size, crop=encoder.crop) as pool,
    ):
        embedded = extract(listing, reader, encoder, ShardCache(Path(cache)), pool, report, on_error=OnError())
    known = labels_of(embedded.paths, said, embedded.duplicates)
    if known is None:
        raise InvalidRequest("the table of labels names no picture of the folder")
    rows = np.flatnonzero([bool(value) for value in known.values])
    paths = [embedded.paths[row] for row in rows]
    twins = [*_twins(reader, paths, encoder)]
    vectors, head = headed(EncoderSpec(name=name), embedded.vectors)
    seen = encoder.embed([pixels for _, pixels in twins])
    return quality.measure(
        vectors[rows],
        [known.values[row] for row in rows],
        known.tests[rows],
        ([place for place, _ in twins], seen if head is None else apply(head, seen)),
    )


def _columns(labels: Path) -> list[list[str]]:
    table = read_labels(labels, _MAX_ROWS)
    return [table[name].to_pylist() for name in ("path", "label", "split")]


def _twins(reader: FolderReader, paths: list[str], encoder: Encoder) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Of some pictures: which it is, and one like it."""
    for place in range(0, len(paths), max(1, len(paths) // _TWINS)):
        try:
            yield place, decode(_like(reader.content(paths[place])), _MAX_PIXELS, encoder.size, encoder.crop).pixels
        except ItemError:
            continue


def _like(content: bytes) -> bytes:
    """The same scene a moment later: four per cent cut off at one corner, a little lighter, packed harder."""
    with Image.open(io.BytesIO(content)) as image:
        picture = image.convert("RGB")
    width, height = picture.size
    picture = picture.crop((round(0.04 * width), round(0.04 * height), width, height)).point(lambda v: min(255, v + 12))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=70)
    return out.getvalue()
