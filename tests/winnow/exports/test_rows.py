"""Every sample is accounted for once: kept, removed with a reason that is true, or in quarantine."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from winnow.exports import kept_rows, quarantine_rows, removed_rows
from winnow.results import NO_PTS, Embedded, Frames, ItemFailure, Listing, Selection


def embedded_of(n: int, duplicates: dict[str, str] | None = None) -> Embedded:
    ids = np.zeros((n, 32), np.uint8)
    ids[:, 0] = np.arange(n)
    return Embedded(
        ids=ids,
        paths=[f"p{index}.jpg" for index in range(n)],
        sizes=np.full(n, 10, np.int64),
        vectors=np.arange(n, dtype=np.float32)[:, None],
        shapes=np.full((n, 2), 4, np.int32),
        failures=[ItemFailure("z.jpg", "DECODE_FAILED"), ItemFailure("a.jpg", "UNREADABLE", "gone")],
        duplicates=duplicates or {},
    )


def keeping(n: int, positions: list[int], insertion: list[float]) -> Selection:
    kept = np.array(positions, np.int64)
    offsets = np.abs(np.arange(n)[:, None] - kept[None, :]).astype(np.float32)
    rank = offsets.argmin(axis=1)
    return Selection(
        positions=kept,
        insertion=np.array(insertion, np.float32),
        nearest=kept[rank],
        distance=offsets.min(axis=1),
        covered_at=rank.astype(np.int64),
    )


@given(st.integers(2, 30).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), min_size=1))))
def test_each_usable_sample_is_kept_or_removed_exactly_once(case):
    n, kept = case
    embedded = embedded_of(n, {"copy.jpg": "p0.jpg"})
    selection = keeping(n, sorted(kept), [np.inf] + [1.0] * (len(kept) - 1))
    answered = [row["path"] for row in (*kept_rows(embedded, selection), *removed_rows(embedded, selection))]
    assert sorted(answered) == sorted([*embedded.paths, "copy.jpg"])


def test_a_copy_of_a_kept_sample_is_an_exact_duplicate_at_distance_zero():
    embedded = embedded_of(3, {"b/copy.jpg": "p0.jpg", "a/copy.jpg": "p0.jpg"})
    rows = list(removed_rows(embedded, keeping(3, [0, 2], [np.inf, 2.0])))
    copies = [row for row in rows if row["reason"] == "EXACT_DUPLICATE"]
    assert [row["path"] for row in copies] == ["a/copy.jpg", "b/copy.jpg"]
    assert {(row["nearest_kept_path"], row["nearest_kept_distance"]) for row in copies} == {("p0.jpg", 0.0)}


def test_what_the_budget_alone_kept_out_is_told_apart_from_what_is_redundant():
    embedded = embedded_of(10)
    rows = {row["path"]: row["reason"] for row in removed_rows(embedded, keeping(10, [0, 2], [np.inf, 2.0]))}
    assert rows["p1.jpg"] == "COVERED_BY_KEPT"
    assert rows["p9.jpg"] == "OVER_BUDGET"


def test_removed_rows_come_sorted_by_sample_id():
    rows = list(removed_rows(embedded_of(20, {"x": "p3.jpg"}), keeping(20, [5], [np.inf])))
    assert [row["sample_id"] for row in rows] == sorted(row["sample_id"] for row in rows)


def test_the_first_pick_has_no_distance_because_json_has_no_infinity():
    assert next(kept_rows(embedded_of(3), keeping(3, [1, 0], [np.inf, 1.0])))["insertion_distance"] is None


def test_the_quarantine_lists_every_failure_by_path():
    assert [(row["path"], row["code"]) for row in quarantine_rows(embedded_of(1))] == [
        ("a.jpg", "UNREADABLE"),
        ("z.jpg", "DECODE_FAILED"),
    ]


def test_a_row_says_where_its_frame_stands_and_null_where_that_is_not_known():
    frames = Frames(
        videos=["a.mp4", "b.mkv", "c"],
        numbers=np.array([7, 0, 3]),
        pts=np.array([-512, NO_PTS, 90]),
        times_s=np.array([-0.5, np.nan, 3.0]),
        shapes=np.zeros((3, 2), np.int32),
    )
    selection = keeping(3, [1, 0], [np.inf, 1.0])
    rows = list(kept_rows(replace(embedded_of(3), frames=frames), selection))
    where = ("video", "frame", "pts", "time_s")
    assert [tuple(row[name] for name in where) for row in rows] == [("b.mkv", 0, None, None), ("a.mp4", 7, -512, -0.5)]
    assert {row[name] for row in kept_rows(embedded_of(3), selection) for name in where} == {None}


def test_a_removed_row_says_where_its_frame_stands_and_a_duplicate_where_its_own_does():
    listed = Frames(
        videos=["a.mp4", "z.mp4", "b.mkv"],
        numbers=np.array([7, 9, 3]),
        pts=np.array([70, 90, NO_PTS]),
        times_s=np.array([0.7, 0.9, np.nan]),
        shapes=np.zeros((3, 2), np.int32),
    )
    ids = embedded_of(2).ids[[0, 0, 1]]
    listing = Listing(ids=ids, paths=["p0.jpg", "twin.jpg", "p1.jpg"], sizes=np.full(3, 10), frames=listed)
    embedded = replace(embedded_of(2, {"twin.jpg": "p0.jpg"}), frames=listed.take(np.array([0, 2])))
    selection = keeping(2, [0], [np.inf])
    where = ("path", "video", "frame", "pts", "time_s")
    rows = [tuple(row[name] for name in where) for row in removed_rows(embedded, selection, listing)]
    assert rows == [("twin.jpg", "z.mp4", 9, 90, 0.9), ("p1.jpg", "b.mkv", 3, None, None)]
    unknown = next(removed_rows(embedded, selection))
    assert [unknown[name] for name in where] == ["twin.jpg", None, None, None, None]
