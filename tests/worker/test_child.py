"""One attempt at a job on videos, from its task to its files: what it says on the way, and what it writes."""

import json
import shutil
import signal
import sys
from itertools import groupby

import clips
import pytest

from winnow.datasets.video import frame_path
from winnow.datasets.video_decoder import VideoDecoder
from winnow.settings import Settings
from winnow.store.ids import new_id
from worker import child

SLOW = """
import time
from winnow.datasets import video_process
honest = video_process.Video._decoded
def decoded(video, packet):
    time.sleep(0.1)
    return honest(video, packet)
video_process.Video._decoded = decoded
video_process.main()
"""


@pytest.fixture
def run(tmp_path):
    """Filters frames of the videos as the process of an attempt does; returns everything said on the way."""
    before = signal.getsignal(signal.SIGTERM)

    def run(count, **sampling):
        said, dataset_id = [], new_id("ds")
        settings = Settings(
            data_dir=tmp_path / "data", allow_roots=(tmp_path,), output_roots=(tmp_path,), threads=1, decoders=1
        )
        spec = {
            "dataset_id": dataset_id,
            "encoder": {"name": "descriptor-64"},
            "selection": {"method": "coreset", "target": {"count": count}},
            "insights": [],
            "output": {"path": str(tmp_path / "out")},
        }
        task = child.Task(
            job_id="job_1",
            attempt=1,
            kind="filter",
            spec=spec,
            tenant="local",
            dataset_id=dataset_id,
            source={"type": "videos", "path": str(tmp_path / "in"), "sampling": sampling},
            labels=None,
            snapshot=None,
            max_items=1000,
        )
        child._run(task, settings, child._Reporter(said.append), said.append)
        return said

    yield run
    signal.signal(signal.SIGTERM, before)


def test_while_a_frame_to_copy_is_long_in_coming_the_job_says_that_it_lives(tmp_path, run, monkeypatch):
    """Of 25 frames the last is wanted, and each takes 0.1 s to pass."""
    monkeypatch.setitem(VideoDecoder.__init__.__kwdefaults__, "command", (sys.executable, "-P", "-c", SLOW))
    clips.make(tmp_path / "in" / "a.mp4", 25)
    said = run(count=2, every_nth=24)
    assert len([*(tmp_path / "out").glob("*.png")]) == 2
    writing = [report for message in said if (report := message.get("report", [""]))[0] == "writing"]
    assert max(len([*same]) for _, same in groupby(writing)) >= 5


def test_every_removed_frame_says_where_it_stands_also_the_copy_of_another(tmp_path, run):
    clips.make(tmp_path / "in" / "a.mp4", 3)
    shutil.copy(tmp_path / "in" / "a.mp4", tmp_path / "in" / "b.mp4")
    run(count=1, every_nth=1)
    (removed,) = (tmp_path / "data").rglob("removed.jsonl")
    rows = [json.loads(line) for line in removed.read_text().splitlines()]
    assert len({(row["video"], row["frame"]) for row in rows}) == 5
    assert all(row["path"] == frame_path(row["video"], row["frame"]) for row in rows)
