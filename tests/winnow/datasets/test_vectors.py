"""Ready embeddings: what is read, how it is named, and in which order it comes."""

import contextlib
import hashlib
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from winnow.datasets import Limits, open_source
from winnow.datasets.vectors import VectorsReader
from winnow.errors import DatasetEmpty, InvalidVectors, ItemError, SourceGone, TooManyItems, UnsupportedArtifact
from winnow.results import silent
from winnow.spec import ArchiveSource, FolderSource, VectorsSource


def reader_of(path, **limits):
    return VectorsReader(path, Limits(**limits))


def parquet(tmp_path, **columns):
    path = tmp_path / "v.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", "i1", "u1", "<i4", "<i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_of_any_kind_and_layout_become_the_same_rows(tmp_path, dtype, order):
    values = np.random.default_rng(0).integers(0, 9, (50, 3))
    np.save(tmp_path / "v.npy", np.array(values, dtype, order=order))
    reader = reader_of(tmp_path / "v.npy")
    listing = reader.list(silent)
    ids, vectors = reader.vectors()
    expected = {
        f"row-{row:07d}": hashlib.sha256(value.astype("<f4").tobytes()).digest() for row, value in enumerate(values)
    }
    assert dict(zip(listing.paths, map(bytes, listing.ids), strict=True)) == expected
    assert ids.tobytes() == listing.ids.tobytes()
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    assert [hashlib.sha256(row.tobytes()).digest() for row in vectors] == [row.tobytes() for row in ids]


def test_the_order_is_by_content_and_twins_share_an_id(tmp_path):
    np.save(tmp_path / "v.npy", np.float32([[3, 1], [1, 2], [3, 1], [0, 0]]))
    listing = reader_of(tmp_path / "v.npy").list(silent)
    keys = [(row.tobytes(), path) for row, path in zip(listing.ids, listing.paths, strict=True)]
    assert keys == sorted(keys)
    assert len({key[0] for key in keys}) == 3
    assert listing.sizes.tolist() == [8] * 4


def test_rows_that_are_not_finite_are_set_aside(tmp_path):
    values = np.zeros((4, 2))
    values[1, 0], values[2, 1], values[3, 0] = np.nan, np.inf, 1e300  # the last is too large for float32
    np.save(tmp_path / "v.npy", values)
    reader = reader_of(tmp_path / "v.npy")
    listing = reader.list(silent)
    assert listing.paths == ["row-0000000"]
    assert [(failure.path, failure.code) for failure in listing.failures] == [
        (f"row-000000{row}", "NOT_FINITE") for row in (1, 2, 3)
    ]
    assert reader.vectors()[1].tolist() == [[0, 0]]


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 2), pa.large_list(pa.float64()), pa.list_(pa.int16())]
)
def test_a_parquet_table_names_its_rows(tmp_path, kind):
    path = parquet(tmp_path, id=["b", "a", "c"], vector=pa.array([[1, 2], [3, 4], [5, 6]], kind), more=[1, 2, 3])
    reader = reader_of(path)
    listing = reader.list(silent)
    rows = dict(zip(listing.paths, reader.vectors()[1].tolist(), strict=True))
    assert rows == {"b": [1, 2], "a": [3, 4], "c": [5, 6]}


def test_a_parquet_table_may_have_many_row_groups_and_whole_numbers_as_ids(tmp_path):
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    path = tmp_path / "v.parquet"
    pq.write_table(pa.table({"id": range(20), "vector": list(values)}), path, row_group_size=3)
    reader = reader_of(path)
    rows = dict(zip(reader.list(silent).paths, reader.vectors()[1].tolist(), strict=True))
    assert rows == {str(row): value.tolist() for row, value in enumerate(values)}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"vector": [[1.0, 2.0], [3.0]]}, "row 1 is 1 wide"),
        ({"vector": [[1.0], None]}, "null in row 1"),
        ({"vector": [[1.0, 2.0], [3.0, None]]}, "row 1 holds a null"),
        ({"vector": [[1.0], [2.0]], "id": ["a", None]}, "`id` is null in row 1"),
        ({"vector": [[1.0], [2.0], [3.0]], "id": ["a", "b", "a"]}, "rows 0 and 2 share"),
    ],
)
def test_a_bad_row_is_named(tmp_path, columns, message):
    with pytest.raises(InvalidVectors, match=message):
        reader_of(parquet(tmp_path, **columns)).list(silent)


@pytest.mark.parametrize(
    "columns",
    [{"other": [1]}, {"vector": [1.0]}, {"vector": [["a"]]}, {"vector": [[1.0]], "id": [1.5]}, {"vector": [[]]}],
)
def test_a_table_of_another_shape_is_refused(tmp_path, columns):
    with pytest.raises(UnsupportedArtifact):
        reader_of(parquet(tmp_path, **columns)).list(silent)


def test_limits_and_emptiness(tmp_path):
    np.save(tmp_path / "v.npy", np.ones((11, 2)))
    with pytest.raises(TooManyItems):
        reader_of(tmp_path / "v.npy", max_items=10).list(silent)
    np.save(tmp_path / "v.npy", np.ones((0, 2)))
    with pytest.raises(DatasetEmpty):
        reader_of(tmp_path / "v.npy").list(silent)


def test_a_row_is_not_a_picture(tmp_path):
    with pytest.raises(ItemError, match="UNSUPPORTED_FORMAT"):
        reader_of(tmp_path / "v.npy").read("row-0000000", bytes(32))


def test_two_hundred_thousand_rows_are_listed_quickly(tmp_path):
    np.save(tmp_path / "v.npy", np.random.default_rng(0).random((200_000, 64), np.float32))
    began = time.process_time()
    assert len(reader_of(tmp_path / "v.npy").list(silent)) == 200_000
    assert time.process_time() - began < 8


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_a_header_does_anything_but_refuse(tmp_path, data):
    np.save(tmp_path / "v.npy", np.ones((4, 4), np.float32))
    content = bytearray((tmp_path / "v.npy").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(6, 127))] = data.draw(st.integers(0, 255))
    (tmp_path / "w.npy").write_bytes(content)
    with contextlib.suppress(UnsupportedArtifact, InvalidVectors):
        assert len(reader_of(tmp_path / "w.npy").list(silent)) <= 64


def test_open_source_finds_the_reader_for_each_kind_of_place(tmp_path, zipped, picture):
    np.save(tmp_path / "v.npy", np.ones((2, 2)))
    upload = zipped(("a.png", picture()))
    none = "up_" + "0" * 32
    cases = [
        (FolderSource(type="folder", path=str(tmp_path)), None, "images"),
        (ArchiveSource(type="archive", upload_id=none), upload, "images"),
        (VectorsSource(type="vectors", path=str(tmp_path / "v.npy")), None, "vectors"),
        (VectorsSource(type="vectors", upload_id=none), tmp_path / "v.npy", "vectors"),
    ]
    for number, (source, upload_path, kind) in enumerate(cases):
        folder = tmp_path / "ds" / str(number)
        reader = open_source(source, folder=folder, roots=(tmp_path,), upload=upload_path, limits=Limits())
        assert reader.kind == kind
    for source in (cases[1][0], cases[3][0]):
        with pytest.raises(SourceGone):
            open_source(source, folder=tmp_path, roots=(), upload=None, limits=Limits()).list(silent)


def test_kilobytes_that_stand_for_gigabytes_are_refused_before_they_are_unpacked(tmp_path):
    path = tmp_path / "bomb.parquet"
    group = pa.table({"vector": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(4_000_000, np.float32)), 1000)})
    with pq.ParquetWriter(path, group.schema, compression="zstd") as writer:
        for _ in range(50):
            writer.write_table(group)
    assert path.stat().st_size < 100 << 10
    with pytest.raises(UnsupportedArtifact, match="unpacks"):
        reader_of(path).list(silent)


@pytest.mark.parametrize("ids", [["a", "b" * 5000], ["b" * 5000] * 2], ids=["once", "repeated"])
def test_a_row_has_a_name_of_the_length_of_names(tmp_path, ids):
    with pytest.raises(InvalidVectors, match="4096 bytes"):
        reader_of(parquet(tmp_path, id=ids, vector=[[1.0, 2.0], [3.0, 4.0]])).list(silent)


def test_ids_may_come_as_categories(tmp_path):
    table = parquet(tmp_path, id=pa.array(["b", "a"]).dictionary_encode(), vector=[[1.0, 2.0], [3.0, 4.0]])
    assert set(reader_of(table).list(silent).paths) == {"a", "b"}


@pytest.mark.parametrize("ids", [["a", ""], ["a", "b\nc"], ["a", "b\u2028c"]])
def test_an_id_is_one_line_of_text(tmp_path, ids):
    with pytest.raises(InvalidVectors, match="row 1"):
        reader_of(parquet(tmp_path, vector=[[1.0], [2.0]], id=ids)).list(silent)


def test_ids_that_are_no_text_are_refused(tmp_path):
    ends = pa.py_buffer(np.arange(3, dtype="i4").tobytes())
    ids = pa.Array.from_buffers(pa.string(), 2, [None, ends, pa.py_buffer(b"\xff\xfe")])
    with pytest.raises(UnsupportedArtifact):
        reader_of(parquet(tmp_path, vector=[[1.0], [2.0]], id=ids)).list(silent)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_to_a_table_does_anything_but_refuse(tmp_path, data):
    whole = parquet(tmp_path, vector=[[float(n)] for n in range(40)], id=[f"camera-{n % 7}/{n}" for n in range(40)])
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        # The sizes that a damaged footer claims may end libparquet; a computation has a process of its own for that.
        at = data.draw(st.integers(4, len(content) // 2))
        content[at] = data.draw(st.integers(0, 255))
    (tmp_path / "damaged.parquet").write_bytes(content)
    with contextlib.suppress(UnsupportedArtifact, InvalidVectors, DatasetEmpty):
        reader_of(tmp_path / "damaged.parquet").list(silent)


def csv_of(tmp_path, text):
    path = tmp_path / "v.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_in(path):
    reader = reader_of(path)
    listing = reader.list(silent)
    ids, vectors = reader.vectors()
    assert ids.tobytes() == listing.ids.tobytes()
    return dict(zip(listing.paths, vectors.tolist(), strict=True))


PLAIN = {"row-0000000": [1, 2, 3], "row-0000001": [4, 5, 6]}
NAMED = {"a": [1, 2, 3], "b": [4, 5, 6]}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("1,2,3\n4,5,6\n", PLAIN),
        ("1,2,3\r\n4,5,6", PLAIN),
        ("\ufeffx,y,z\n1,2,3\n4,5,6\n", PLAIN),
        ("0,1,2\n1,2,3\n4,5,6\n", PLAIN),
        ("id,0,1,2\na,1,2,3\nb,4,5,6\n", NAMED),
        ("x,id,y,z\n1,a,2,3\n4,b,5,6\n", NAMED),
        ("path,x,y,z\na,1,2,3\nb,4,5,6\n", NAMED),
        (",0,1,2\na,1,2,3\nb,4,5,6\n", NAMED),
        ("a,1,2,3\nb,4,5,6\n", NAMED),
        ('id,x,y,z\n"a, ""quoted""",1.0,2e0, 3\nb,4,5,6\n\n', {'a, "quoted"': [1, 2, 3], "b": [4, 5, 6]}),
    ],
)
def test_a_csv_is_read_with_or_without_a_header_and_ids(tmp_path, text, rows):
    assert rows_in(csv_of(tmp_path, text)) == rows


def test_the_three_kinds_of_file_give_a_row_the_same_id(tmp_path):
    values = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    np.save(tmp_path / "v.npy", values)
    text = "\n".join(",".join(str(value) for value in row) for row in values)
    table = parquet(tmp_path, vector=list(values))
    listings = [reader_of(path).list(silent) for path in (tmp_path / "v.npy", table, csv_of(tmp_path, text))]
    assert len({listing.ids.tobytes() for listing in listings}) == 1
    assert listings[0].paths == listings[1].paths == listings[2].paths


def test_rows_of_a_csv_that_are_not_finite_are_set_aside(tmp_path):
    path = csv_of(tmp_path, "id,x\na,1\nb,nan\nc,-inf\nd,1e300\ne,1e999\n")
    listing = reader_of(path).list(silent)
    assert listing.paths == ["a"]
    assert {(failure.path, failure.code) for failure in listing.failures} == {(name, "NOT_FINITE") for name in "bcde"}


@pytest.mark.parametrize("header", ["", "id,x,y\n"])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("z,1", "row 40000 is 1 wide, not 2"),
        ("z,1,2,3", "row 40000 is 3 wide, not 2"),
        ("z,1,", "row 40000 is not a number"),
        ("z,one,2", "row 40000 is not a number"),
        ("n5,1,2", "rows 5 and 40000 share one"),
        (",1,2", "row 40000 has none"),
        ('"z\nz",1,2', "row 40000 has none"),
        ("z\0,1,2", "row 40000 has none"),
    ],
)
def test_a_bad_row_of_a_csv_is_named(tmp_path, header, row, message):
    text = header + "".join(f"n{number},{number},0\n" for number in range(40_000)) + f"{row}\nlast,1,2\n"
    with pytest.raises(InvalidVectors, match=message):
        reader_of(csv_of(tmp_path, text)).list(silent)


def test_a_csv_is_held_to_the_limits(tmp_path):
    with pytest.raises(TooManyItems):
        reader_of(csv_of(tmp_path, "1,2\n" * 11), max_items=10).list(silent)
    for empty in ("id,x\n", "some words\n"):
        with pytest.raises(DatasetEmpty):
            reader_of(csv_of(tmp_path, empty)).list(silent)
    with pytest.raises(UnsupportedArtifact, match="neither a header"):
        reader_of(csv_of(tmp_path, "1,x,2\n")).list(silent)
