"""A table of labels is read as it stands, or refused with the reason."""

import os

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.datasets import labels
from winnow.errors import InvalidLabels


def written(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_csv_and_parquet_say_the_same(tmp_path):
    rows = {"path": ["a.png", "b,\n.png", "c.png"], "label": ["cat", "007", ""], "split": ["train", "test", ""]}
    csv = written(tmp_path, 'path,other,label,split\na.png,1,cat,train\n"b,\n.png",2,007,test\nc.png,3,,\n')
    pq.write_table(pa.table(rows), tmp_path / "labels.parquet")
    read = [labels.read_labels(path, 10) for path in (csv, tmp_path / "labels.parquet")]
    assert read[0].to_pydict() == read[1].to_pydict() == rows
    labels.save(read[0], tmp_path / "kept.parquet")
    assert labels.load(tmp_path / "kept.parquet")["b,\n.png"] == ["007", "test"]


def test_numbers_are_labels_too(tmp_path):
    pq.write_table(pa.table({"path": ["a"], "label": [7]}), tmp_path / "labels.parquet")
    assert labels.read_labels(tmp_path / "labels.parquet", 10)["label"].to_pylist() == ["7"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,label\na,b\n", "a column path"),
        ("path,class\na,b\n", "a column label"),
        ("path,label\na,b\na,c\n", "twice"),
        ("path,label,label\na,b,c\n", "more than one column label"),
        ("path,label\na," + "x" * 300 + "\n", "200 letters"),
        ("path,label\n" + "".join(f"{n},b\n" for n in range(11)), "more than 10 rows"),
        ("path,label\na,b,c,d\n", "damaged"),
        (b"path,label\n\xff\xfe,b\n", "damaged"),
        (b"PAR1 and nothing more", "damaged"),
        ("", "damaged"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_its_fault(tmp_path, text, reason):
    with pytest.raises(InvalidLabels, match=reason):
        labels.read_labels(written(tmp_path, text), 10)


def test_a_parquet_of_kilobytes_that_stands_for_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(labels, "_MAX_BYTES", 1 << 20)
    pq.write_table(
        pa.table({"path": ["x" * (2 << 20)], "label": ["a"]}), tmp_path / "labels.parquet", compression="zstd"
    )
    with pytest.raises(InvalidLabels, match="unpacks to more"):
        labels.read_labels(tmp_path / "labels.parquet", 10)


@pytest.mark.parametrize("column", ["path", "label"])
def test_a_word_that_stands_for_every_row_is_not_written_out(tmp_path, column):
    """Sixty kilobytes on the disk, gigabytes once each row has the word to itself."""
    long, words = "x" * 1_000_000, [str(row) for row in range(5000)]
    columns = {"path": words, "label": words} | {column: [long] * 5000}
    arrays = {name: pa.array(column).dictionary_encode() for name, column in columns.items()}
    pq.write_table(pa.table(arrays), tmp_path / "bomb.parquet", compression="zstd", store_schema=False)
    before = psutil.Process().memory_info().rss
    with pytest.raises(InvalidLabels, match="letters"):
        labels.read_labels(tmp_path / "bomb.parquet", 10_000)
    assert psutil.Process().memory_info().rss - before < 200 << 20


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "nothing", "."):
        with pytest.raises(InvalidLabels, match="not a file"):
            labels.read_labels(tmp_path / name, 10)


def test_labels_that_are_there_stay(tmp_path):
    for text in ("path,label\na,old\n", "path,label\na,new\n"):
        labels.save(labels.read_labels(written(tmp_path, text), 10), tmp_path / "kept.parquet")
    assert labels.load(tmp_path / "kept.parquet")["a"][0] == "old"


def test_a_table_of_other_samples_is_refused(tmp_path):
    table = labels.read_labels(written(tmp_path, "path,label\na,b\nz,b\n"), 10)
    assert labels.fitting(table, ["a", "c"])["path"].to_pylist() == ["a"]
    with pytest.raises(InvalidLabels, match="names no sample"):
        labels.fitting(table, ["c"])


def test_labels_follow_the_samples_and_unknown_ones_are_left_empty():
    said = {"a": ("cat", "validation"), "c": ("dog", "test")}
    found = labels.labels_of(["c", "b", "a"], said)
    assert found.values == ["dog", "", "cat"]
    assert found.tests.tolist() == [True, False, False]
    assert labels.labels_of(["x"], said) is None
    without = labels.labels_of([str(n) for n in range(10)], {str(n): ("a", "") for n in range(10)})
    assert np.flatnonzero(without.tests).tolist() == [0, 5]


def test_every_fifth_that_has_a_label_is_a_test():
    said = {str(number): ("a", "") for number in range(0, 20, 2)}
    found = labels.labels_of([str(number) for number in range(20)], said)
    assert np.flatnonzero(found.tests).tolist() == [0, 10]


def test_a_label_on_a_copy_is_a_label_of_its_first():
    found = labels.labels_of(["a", "b"], {"z": ("dog", "test"), "y": ("cat", "")}, {"y": "a", "z": "a"})
    assert found.values == ["cat", ""]
