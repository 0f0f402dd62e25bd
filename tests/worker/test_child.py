"""A computation is heard of while it works, however long one step of it takes."""

import signal
import sys
from itertools import groupby

import clips
import pytest

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
    """Does a task as the process of an attempt does; returns the verdict and everything said on the way."""
    before = signal.getsignal(signal.SIGTERM)

    def run(**task):
        said = []
        settings = Settings(
            data_dir=tmp_path / "data", allow_roots=(tmp_path,), output_roots=(tmp_path,), threads=1, decoders=1
        )
        facts = {"job_id": "job_1", "attempt": 1, "tenant": "local", "labels": None, "snapshot": None}
        report = child._Reporter(said.append)
        return child._run(child.Task(**facts, max_items=1000, **task), settings, report, said.append), said

    yield run
    signal.signal(signal.SIGTERM, before)


def test_while_a_frame_to_copy_is_long_in_coming_the_job_says_that_it_lives(tmp_path, run, monkeypatch):
    """Of 25 frames the last is wanted, and each takes 0.1 s to pass."""
    monkeypatch.setitem(VideoDecoder.__init__.__kwdefaults__, "command", (sys.executable, "-P", "-c", SLOW))
    clips.make(tmp_path / "in" / "a.mp4", 25)
    dataset_id = new_id("ds")
    spec = {
        "dataset_id": dataset_id,
        "encoder": {"name": "descriptor-64"},
        "selection": {"method": "coreset", "target": {"count": 2}},
        "insights": [],
        "output": {"path": str(tmp_path / "out")},
    }
    source = {"type": "videos", "path": str(tmp_path / "in"), "sampling": {"every_nth": 24}}
    _, said = run(kind="filter", dataset_id=dataset_id, source=source, spec=spec)
    assert len([*(tmp_path / "out").glob("*.png")]) == 2
    writing = [report for message in said if (report := message.get("report", [""]))[0] == "writing"]
    assert max(len([*same]) for _, same in groupby(writing)) >= 5
