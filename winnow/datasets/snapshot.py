"""A listing on disk: one Parquet file, written whole or not at all, read back as it was."""

import hashlib
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.datasets.atomic import appearing
from winnow.results import NO_PTS, Frames, ItemFailure, Listing

SCHEMA: Final = pa.schema(
    [
        ("sample_id", pa.binary(32)),  # null for an item that could not be read
        ("path", pa.string()),
        ("bytes", pa.int64()),
        ("code", pa.string()),
        ("detail", pa.string()),
    ]
)
_OF_A_FRAME: Final = (
    ("video", pa.string()),
    ("frame", pa.int64()),
    ("pts", pa.int64()),
    ("time_s", pa.float64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
)
FRAMES_SCHEMA: Final = pa.schema([*SCHEMA, *(pa.field(*column) for column in _OF_A_FRAME)])  # where samples are frames
_GROUP: Final = 65_536  # rows a group, so that a page of them can be read alone


def save(listing: Listing, path: Path) -> None:
    with appearing(path) as file:
        write(listing, file)


def write(listing: Listing, file: BinaryIO) -> None:
    pq.write_table(to_table(listing), file, row_group_size=_GROUP, compression="zstd")


def load(path: Path) -> Listing:
    return from_table(pq.read_table(path, schema=FRAMES_SCHEMA if "video" in pq.read_schema(path).names else SCHEMA))


def from_table(table: pa.Table) -> Listing:
    valid = table.filter(table["sample_id"].is_valid())
    failed = table.filter(table["sample_id"].is_null())
    ids = np.frombuffer(b"".join(valid["sample_id"].to_pylist()), np.uint8).reshape(-1, 32)
    columns = (failed[name].to_pylist() for name in ("path", "code", "detail"))
    return Listing(
        ids=ids,
        paths=valid["path"].to_pylist(),
        sizes=valid["bytes"].to_numpy().astype(np.int64),
        failures=[ItemFailure(*row) for row in zip(*columns, strict=True)],
        frames=frames_of(valid) if "video" in table.column_names else None,
    )


def frames_of(table: pa.Table) -> Frames:
    """The columns of `FRAMES_SCHEMA` that say where each sample stands; null where that is not known."""
    sides = [table[name].fill_null(0).to_numpy().astype(np.int32) for name in ("width", "height")]
    return Frames(
        videos=table["video"].to_pylist(),
        numbers=table["frame"].to_numpy().astype(np.int64),
        pts=table["pts"].fill_null(NO_PTS).to_numpy().astype(np.int64),
        times_s=table["time_s"].to_numpy().astype(np.float64),  # null becomes NaN
        shapes=np.stack(sides, axis=1),
    )


def fingerprint(listing: Listing) -> str:
    """One hash over what every usable sample is and what it is called, the same for every order of the same files."""
    digest = hashlib.sha256(np.ascontiguousarray(listing.ids).tobytes())
    for path in listing.paths:
        name = path.encode()
        digest.update(len(name).to_bytes(8, "little") + name)
    return f"sha256:{digest.hexdigest()}"


def to_table(listing: Listing) -> pa.Table:
    good, bad = len(listing), listing.failures
    table = pa.table(
        {
            "sample_id": [row.tobytes() for row in listing.ids] + [None] * len(bad),
            "path": listing.paths + [failure.path for failure in bad],
            "bytes": listing.sizes.tolist() + [None] * len(bad),
            "code": [None] * good + [failure.code for failure in bad],
            "detail": [None] * good + [failure.detail for failure in bad],
        },
        schema=SCHEMA,
    )
    return table if listing.frames is None else _with_frames(table, listing.frames)


def _with_frames(table: pa.Table, frames: Frames) -> pa.Table:
    """Null in the rows of failures, which come last."""
    columns = (
        pa.array(frames.videos, pa.string()),
        pa.array(frames.numbers),
        pa.array(frames.pts, mask=frames.pts == NO_PTS),
        pa.array(frames.times_s, mask=np.isnan(frames.times_s)),
        *(pa.array(side, mask=side == 0) for side in frames.shapes.T),
    )
    missing = len(table) - len(frames.videos)
    for field, column in zip(_OF_A_FRAME, columns, strict=True):
        table = table.append_column(pa.field(*field), pa.concat_arrays([column, pa.nulls(missing, field[1])]))
    return table
