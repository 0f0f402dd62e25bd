"""Every format carries the same ranking, and none lets a file name do harm."""

import csv
import io
import json

import pyarrow.parquet as pq
import pytest

from winnow.exports import FORMATS

HOSTILE = [
    "plain/a.jpg",
    "=cmd()|' /C calc'!A0.jpg",
    "new\nline\\.jpg",
    "ümläut 日本.jpg",
    '"quoted",comma.jpg',
    "\u202egpj.exe.jpg",
]


def rows_of(paths):
    return [
        {
            "rank": rank,
            "sample_id": f"{rank:064x}",
            "path": path,
            "insertion_distance": None if rank == 0 else 0.5,
            "bytes": 7,
            "width": 4,
            "height": None,
        }
        for rank, path in enumerate(paths)
    ]


def written(name: str, rows) -> bytes:
    out = io.BytesIO()
    FORMATS[name].write(iter(rows), out)
    return out.getvalue()


def read_paths(name: str, content: bytes) -> list[str]:
    if name == "txt":
        return content.decode().splitlines()
    if name == "jsonl":
        return [json.loads(line)["path"] for line in content.splitlines()]
    if name == "csv":
        return [row["path"] for row in csv.DictReader(io.StringIO(content.decode(), newline=""))]
    return pq.read_table(io.BytesIO(content))["path"].to_pylist()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_keeps_the_order_and_the_names(name):
    paths = [path for path in HOSTILE if "\n" not in path and not path.startswith("=")]
    assert read_paths(name, written(name, rows_of(paths))) == paths


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_selection_is_a_valid_file(name):
    assert read_paths(name, written(name, [])) == []


def test_a_line_break_in_a_name_cannot_forge_a_second_line_of_the_list():
    assert written("txt", rows_of(["new\nline\\.jpg", "b.jpg"])) == b"\\new\\nline\\\\.jpg\nb.jpg\n"


def test_a_name_that_looks_escaped_is_not_taken_for_the_one_it_imitates():
    real, imitation = written("txt", rows_of(["new\nline.jpg", "\\new\\nline.jpg"])).splitlines()
    assert (real, imitation) == (b"\\new\\nline.jpg", b"\\\\\\new\\\\nline.jpg")


def test_a_spreadsheet_never_sees_a_formula():
    assert read_paths("csv", written("csv", rows_of(["=1+1.jpg", "@x.jpg"]))) == ["'=1+1.jpg", "'@x.jpg"]


def test_parquet_can_be_read_by_row_group():
    content = written("parquet", rows_of([f"{index}.jpg" for index in range(70_000)]))
    assert pq.ParquetFile(io.BytesIO(content)).num_row_groups == 2


def test_the_place_of_a_frame_is_in_the_table_and_in_the_spreadsheet():
    rows = [{**rows_of(["=a-1-mp4.png"])[0], "video": "=a.mp4", "frame": 1, "pts": 512, "time_s": 0.1}]
    (line,) = csv.DictReader(io.StringIO(written("csv", rows).decode(), newline=""))
    assert [line[name] for name in ("video", "frame", "pts", "time_s")] == ["'=a.mp4", "1", "512", "0.1"]
    (row,) = pq.read_table(io.BytesIO(written("parquet", rows))).to_pylist()
    assert [row[name] for name in ("video", "frame", "pts", "time_s")] == ["=a.mp4", 1, 512, 0.1]
