"""Videos from POST to copied frames: what lies in the output folder is what anybody would decode by hand."""

import io
import json

import clips
import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from winnow_client import Client


def test_selected_frames_are_copied_as_they_are_in_the_video(service, tmp_path):
    folder, target = tmp_path / "clips", tmp_path / "to-label"
    hand = {
        name: clips.by_hand(clips.make(folder / name, 61, options=options))
        for name, options in {"yard/gate.mp4": {"bf": "3", "g": "24"}, "street.mkv": {"g": "12"}}.items()
    }
    source = {"type": "videos", "path": str(folder), "sampling": {"every_nth": 10}}
    selection = {"method": "coreset", "target": {"fraction": 1.0}}
    job = service.filter(source, selection, output={"path": str(target)})
    assert job["state"] == "succeeded", job
    assert job["counts"]["selected"] == 14
    for name, stem in {"yard/gate.mp4": "yard/gate-{}-mp4.png", "street.mkv": "street-{}-mkv.png"}.items():
        for number in (0, 30, 60):
            copied = np.asarray(Image.open(target / stem.format(f"{number:07d}")))
            assert np.array_equal(copied, hand[name][number][1])
    assert len([*target.rglob("*.png")]) == 14
    assert_rows_speak_of_frames(service, job, hand)


def assert_rows_speak_of_frames(service, job, hand):
    at = f"/v1/jobs/{job['id']}/selection"
    lines = [json.loads(line) for line in service.http.get(at, params={"format": "jsonl"}).text.splitlines()]
    for line in lines:
        pts, pixels = hand[line["video"]][line["frame"]]
        assert (line["pts"], line["height"], line["width"]) == (pts, *pixels.shape[:2])
        assert abs(line["time_s"] - line["frame"] / 30) < 1e-3
    table = pq.read_table(io.BytesIO(service.http.get(at, params={"format": "parquet"}).content))
    assert table.select(["video", "frame", "pts"]).to_pylist() == [
        {name: line[name] for name in ("video", "frame", "pts")} for line in lines
    ]
    samples = service.http.get(f"/v1/datasets/{job['dataset_id']}/samples", params={"page_size": 100}).json()["items"]
    assert {(row["video"], row["frame"]) for row in samples} == {(line["video"], line["frame"]) for line in lines}


def test_the_pictures_of_a_folder_can_be_a_sequence(service, pictures):
    source = {"type": "folder", "path": str(pictures / "camera-0"), "sequences": "by_folder"}
    job = service.filter(source, {"method": "random", "target": {"fraction": 1.0}})
    text = service.http.get(f"/v1/jobs/{job['id']}/selection", params={"format": "jsonl"}).text
    order = {line["frame"]: line["path"] for line in map(json.loads, text.splitlines())}
    assert [order[number] for number in range(len(order))] == sorted(order.values())


def test_the_client_submits_videos_and_is_told_where_each_frame_stands(service, tmp_path):
    clips.make(tmp_path / "gate.mp4", 61)
    with Client(str(service.http.base_url)) as client:
        job = client.submit_videos(tmp_path / "gate.mp4", sampling={"fps": 2}, method="random", fraction=1.0)
        client.wait(job["id"])
        samples = client.selection(job["id"])
    assert sorted((sample.video, sample.frame, sample.time_s) for sample in samples) == [
        ("gate.mp4", 15 * number, number / 2) for number in range(5)
    ]
