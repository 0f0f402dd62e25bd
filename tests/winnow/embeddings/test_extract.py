"""From a listing to vectors: distinct, in order, resumable, and as patient as the caller asks."""

import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from winnow.datasets import Limits
from winnow.datasets.decoders import DecoderPool
from winnow.datasets.folder import FolderReader
from winnow.datasets.vectors import VectorsReader
from winnow.embeddings import cache, get_encoder
from winnow.embeddings import extract as module
from winnow.embeddings.cache import ShardCache
from winnow.embeddings.extract import extract, without_zeros
from winnow.errors import DatasetEmpty, InvalidVectors, ItemError, JobCancelled, SourceGone, TooManyItemErrors
from winnow.results import Embedded, silent
from winnow.spec import OnError

ENCODER = get_encoder("descriptor-64")
LENIENT = OnError()


class CountingReader(FolderReader):
    """Remembers what was read."""

    def __init__(self, root):
        super().__init__(root, Limits())
        self.asked = []

    def read(self, path, sample_id):
        self.asked.append(path)
        return super().read(path, sample_id)


@pytest.fixture
def embed(tmp_path, reader):
    def run(listing=None, *, reader=reader, report=silent, on_error=LENIENT, processes=1):
        listing = listing or reader.list(silent)
        with DecoderPool(processes, 10**7, ENCODER.size) as pool:
            return extract(listing, reader, ENCODER, ShardCache(tmp_path / "cache"), pool, report, on_error=on_error)

    return run


def test_every_distinct_picture_has_a_vector_in_canonical_order(embed, reader):
    embedded = embed()
    ids = [row.tobytes() for row in embedded.ids]
    assert ids == sorted(set(ids))
    assert len(embedded.paths) == len(embedded.sizes) == 12
    assert embedded.vectors.shape == (12, 64)
    assert embedded.shapes.tolist() == [[48, 36]] * 12
    assert embedded.duplicates == {"p00.png": "copy of p00.png", "p01.png": "copy of p01.png"}
    assert [(failure.path, failure.code) for failure in embedded.failures] == [("broken.png", "DECODE_FAILED")]
    assert len({row.tobytes() for row in embedded.vectors}) == 12


def test_the_answer_does_not_depend_on_processes_shards_or_batches(embed, tmp_path, monkeypatch):
    one = embed()
    monkeypatch.setattr(module, "SHARD", 3)
    monkeypatch.setattr(module, "_BATCH", 2)
    two = embed(processes=2)
    assert two.vectors.tobytes() == one.vectors.tobytes()
    assert two.ids.tobytes() == one.ids.tobytes()
    assert (two.paths, two.duplicates, two.failures) == (one.paths, one.duplicates, one.failures)


def test_vectors_that_lie_in_a_file_are_the_same(embed, monkeypatch):
    one = embed()
    monkeypatch.setattr(cache, "_IN_MEMORY_BYTES", 0)
    two = embed()
    assert type(two.vectors) is np.ndarray
    np.testing.assert_array_equal(two.vectors, one.vectors)
    assert two.failures == one.failures


def test_a_second_run_reads_nothing(embed, root):
    first = embed()
    reader = CountingReader(root)
    again = embed(reader=reader)
    assert reader.asked == []
    assert again.vectors.tobytes() == first.vectors.tobytes()
    assert again.shapes.tolist() == first.shapes.tolist()
    assert again.failures == first.failures


def test_a_cancelled_run_loses_one_shard_at_most(embed, root, monkeypatch):
    monkeypatch.setattr(module, "SHARD", 4)

    def cancel_in_the_third(stage, done, total, skipped=0):
        if done > 8:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        embed(report=cancel_in_the_third)
    reader = CountingReader(root)
    embed(reader=reader)
    assert len(reader.asked) == 13 - 8


def test_progress_rises_to_the_total_and_counts_what_was_set_aside(embed):
    seen = []
    embed(report=lambda stage, done, total, skipped=0: seen.append((stage, done, total, skipped)))
    assert seen[-1] == ("embedding", 13, 13, 1)
    assert [entry[1] for entry in seen] == sorted(entry[1] for entry in seen)


def test_a_file_that_changed_is_set_aside_and_tried_again_next_time(embed, root, reader):
    listing = reader.list(silent)
    content = (root / "p05.png").read_bytes()
    (root / "p05.png").write_bytes(b"something else")
    (root / "p06.png").rename(root / "away")
    changed = {failure.path: failure.code for failure in embed(listing).failures}
    assert changed == {"broken.png": "DECODE_FAILED", "p05.png": "CONTENT_CHANGED", "p06.png": "UNREADABLE"}
    (root / "p05.png").write_bytes(content)
    (root / "away").rename(root / "p06.png")
    healed = embed(listing)
    assert [failure.path for failure in healed.failures] == ["broken.png"]
    assert np.isfinite(healed.vectors).all()
    assert healed.vectors.any(axis=1).all()


def test_copies_share_the_fate_of_their_first(embed, root):
    (root / "broken too.png").write_bytes((root / "broken.png").read_bytes())
    assert sorted(failure.path for failure in embed().failures) == ["broken too.png", "broken.png"]


@pytest.mark.parametrize("on_error", [OnError(policy="fail"), OnError(max_fraction=0.0), OnError(max_fraction=0.05)])
def test_more_failures_than_allowed_end_the_job(embed, on_error):
    with pytest.raises(TooManyItemErrors, match="1 of 15"):
        embed(on_error=on_error)


def test_as_many_failures_as_allowed_do_not(embed):
    assert len(embed(on_error=OnError(max_fraction=1 / 15)).paths) == 12


def test_a_failure_at_listing_time_counts_before_anything_is_read(root, embed):
    (root / "out.png").symlink_to("/etc/hostname")
    reader = CountingReader(root)
    with pytest.raises(TooManyItemErrors):
        embed(reader=reader, on_error=OnError(policy="fail"))
    assert reader.asked == []


def test_nothing_usable_is_an_empty_dataset(tmp_path, embed):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DatasetEmpty):
        embed(reader=FolderReader(tmp_path / "bad", Limits()))


@pytest.fixture
def matrix(tmp_path):
    path = tmp_path / "v.npy"
    np.save(path, np.float32([[1, 2], [3, 4], [1, 2], [np.nan, 0], [5, 6]]))
    return VectorsReader(path, Limits())


def given(reader, listing):
    return extract(listing, reader, get_encoder("given"), ShardCache(Path()), None, silent, on_error=OnError())


def test_vectors_are_taken_as_they_are(matrix):
    embedded = given(matrix, matrix.list(silent))
    rows = dict(zip(embedded.paths, embedded.vectors.tolist(), strict=True))
    assert rows == {"row-0000000": [1, 2], "row-0000001": [3, 4], "row-0000004": [5, 6]}
    assert embedded.duplicates == {"row-0000002": "row-0000000"}
    assert [(failure.path, failure.code) for failure in embedded.failures] == [("row-0000003", "NOT_FINITE")]
    assert embedded.shapes.tolist() == [[0, 0]] * 3


def test_vectors_that_changed_since_the_listing_are_not_used(matrix):
    listing = matrix.list(silent)
    np.save(matrix._path, np.float32([[9, 9], [3, 4], [1, 2], [0, 0], [5, 6]]))
    with pytest.raises(SourceGone):
        given(matrix, listing)


def test_pictures_need_an_encoder_that_sees(reader):
    with pytest.raises(InvalidVectors):
        given(reader, reader.list(silent))


def test_vectors_without_a_direction_are_set_aside_with_their_copies():
    vectors = np.array([[0, 0], [1, 0], [0, -0.0], [0, 2]], np.float32)
    ids = np.arange(4, dtype=np.uint8)[:, None].repeat(32, axis=1)
    embedded = Embedded(ids, list("abcd"), np.ones(4, np.int64), vectors, np.zeros((4, 2), np.int32), [], {"copy": "c"})
    kept = without_zeros(embedded, 5, LENIENT)
    assert (kept.paths, kept.duplicates) == (["b", "d"], {})
    assert [(failure.path, failure.code) for failure in kept.failures] == [
        (p, "ZERO_VECTOR") for p in ("a", "c", "copy")
    ]
    with pytest.raises(TooManyItemErrors):
        without_zeros(embedded, 5, OnError(max_fraction=0.5))
    with pytest.raises(DatasetEmpty, match="direction"):
        without_zeros(Embedded(ids, list("abcd"), embedded.sizes, vectors * 0, embedded.shapes, [], {}), 5, LENIENT)


def test_what_cannot_be_read_is_told_at_once_not_at_the_end(embed, root):
    class Gone(FolderReader):
        def read(self, path, sample_id):
            raise ItemError("UNREADABLE")

    told = []
    with pytest.raises(DatasetEmpty):
        embed(reader=Gone(root, Limits()), report=lambda _stage, done, _total, skipped=0: told.append((done, skipped)))
    assert len({skipped for _, skipped in told}) > 10


def test_a_vector_that_is_not_finite_is_an_item_failure_and_not_remembered(embed, tmp_path, monkeypatch):
    whole = embed()
    shutil.rmtree(tmp_path / "cache")
    seen = type(ENCODER).embed

    def overflowing(encoder, pictures):
        vectors = seen(encoder, pictures).copy()
        vectors[0, 0] = np.inf
        return vectors

    with monkeypatch.context() as patched:
        patched.setattr(type(ENCODER), "embed", overflowing)
        assert [failure.code for failure in embed().failures].count("NOT_FINITE") == 1
    assert embed().paths == whole.paths


class FarReader(FolderReader):
    """Each read waits as for a network; `most` says how many waited at one time."""

    def __init__(self, root, at_once, delay_s=0.0):
        super().__init__(root, Limits())
        self.reads_at_once, self._delay_s = at_once, delay_s
        self.now = self.most = 0
        self._lock = threading.Lock()

    def read(self, path, sample_id):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self._delay_s)
        with self._lock:
            self.now -= 1
        return super().read(path, sample_id)


def test_reads_overlap_and_the_answer_stays_the_same(embed, root, tmp_path):
    near = embed()
    shutil.rmtree(tmp_path / "cache")
    far = FarReader(root, at_once=8, delay_s=0.05)
    again = embed(reader=far)
    assert far.most > 4
    assert again.vectors.tobytes() == near.vectors.tobytes()
    assert again.failures == near.failures


def test_reading_ahead_holds_no_more_than_its_share_of_memory(embed, root, monkeypatch):
    monkeypatch.setattr("winnow.datasets.ahead.AHEAD_BYTES", 1)
    far = FarReader(root, at_once=8, delay_s=0.01)
    assert len(embed(reader=far).paths) == 12
    assert far.most == 1


def test_a_reader_that_cannot_go_on_ends_the_job_at_its_turn(embed, root):
    class Ended(FarReader):
        def read(self, path, sample_id):
            raise SourceGone("gone")

    with pytest.raises(SourceGone):
        embed(reader=Ended(root, at_once=8))


def paint(folder, *numbers):
    folder.mkdir(exist_ok=True)
    for number in numbers:
        pixels = np.random.default_rng(number).integers(0, 255, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return folder


def test_a_dataset_that_grew_embeds_what_is_new(embed, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD", 16)
    folder = paint(tmp_path / "grows", *range(100))
    embed(reader=FolderReader(folder, Limits()))
    paint(folder, 100)
    reader = CountingReader(folder)
    assert len(embed(reader=reader).paths) == 101
    assert reader.asked == ["100.png"]


def test_datasets_that_share_samples_embed_them_once(embed, tmp_path):
    first = embed(reader=FolderReader(paint(tmp_path / "a", *range(30)), Limits()))
    reader = CountingReader(paint(tmp_path / "b", *range(20, 50)))
    second = embed(reader=reader)
    assert sorted(reader.asked) == [f"{number:03d}.png" for number in range(30, 50)]
    shared = {row.tobytes(): vector.tobytes() for row, vector in zip(first.ids, first.vectors, strict=True)}
    both = [row for row in range(30) if second.ids[row].tobytes() in shared]
    assert len(both) == 10
    assert all(second.vectors[row].tobytes() == shared[second.ids[row].tobytes()] for row in both)


def test_the_answer_does_not_depend_on_what_the_cache_holds(embed, tmp_path, root, monkeypatch):
    fresh = embed()
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "some").mkdir()
    for name in ("p03.png", "p07.png", "broken.png"):
        shutil.copy(root / name, tmp_path / "some")
    embed(reader=FolderReader(tmp_path / "some", Limits()))
    monkeypatch.setattr(module, "SHARD", 5)
    mixed = embed()
    assert mixed.vectors.tobytes() == fresh.vectors.tobytes()
    assert (mixed.paths, mixed.failures, mixed.duplicates) == (fresh.paths, fresh.failures, fresh.duplicates)


def test_a_neighbour_that_is_frozen_is_not_waited_for_for_ever(embed, monkeypatch):
    @contextmanager
    def claimed(_shelf, ids):
        yield np.zeros(len(ids), bool)

    monkeypatch.setattr(module.Shelf, "claimed", claimed)
    monkeypatch.setattr(module, "_PATIENCE_S", 0.5)
    assert len(embed().paths) == 12
