"""Killed at any moment, a job goes on from its last whole shard, to the bytes of a quiet run."""

import json
import signal
import time

import numpy as np
import pytest
from PIL import Image

MOMENTS = ("reading:1", "embedding:5", "embedding:18", "selecting:1", "inspecting:1", "writing:1")
SELECTION = {
    "encoder": {"name": "descriptor-64"},
    "selection": {"method": "coreset", "target": {"count": 20}},
    "insights": ["curve", "map"],
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A shard and a bit of small pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(1100):
        pixels = np.random.default_rng(number).integers(0, 255, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
    return folder


@pytest.fixture(scope="module")
def quiet_digests():
    """Of the run that went undisturbed, for the others to match."""
    return {}


def submitted(client, pictures):
    """One job, that lists the pictures too."""
    request = {"dataset": {"source": {"type": "folder", "path": str(pictures)}}, **SELECTION}
    return client.submit(request, idempotency_key="once")["id"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("moment", [None, *MOMENTS, "before-finish:1"])
def test_killed_once(start_site, pictures, quiet_digests, moment, tmp_path):
    mark = tmp_path / "crashed"
    crash = {"WINNOW_CRASH_AT": f"{moment}:{mark}"} if moment else {}
    site = start_site(WINNOW_ALLOW_ROOTS=str(pictures), **crash)
    shards = site.watch_cache(mark)
    with site.client() as client:
        job_id = submitted(client, pictures)
        job = site.wait_all(client, [job_id], 60)[job_id]
    assert job["state"] == "succeeded"
    assert job["digests"] == quiet_digests.setdefault("quiet", job["digests"])
    assert job["attempt"] == (2 if moment else 1)
    finished_before, finished = shards()
    assert len(finished) == 2
    assert finished_before.items() <= finished.items(), "a whole shard was computed again"
    if moment not in {None, "reading:1", "embedding:5"}:
        assert finished_before


def test_the_second_attempt_of_a_pair_that_froze_is_the_one_that_counts(start_site, pictures):
    """The worker stands still past its lease, another takes over, then the first wakes and wants to write."""
    site = start_site(WINNOW_ALLOW_ROOTS=str(pictures))
    second = site.another_worker()
    with site.client() as client:
        job_id = submitted(client, pictures)
        deadline = time.monotonic() + 30
        while not client.get(job_id)["attempt"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        first = next(worker for worker in (site.worker, second) if worker.children())
        frozen = first.process
        first.signal(signal.SIGSTOP)
        job = site.wait_all(client, [job_id], 60)[job_id]
        frozen.send_signal(signal.SIGCONT)
        time.sleep(2)
        assert client.get(job_id) == job
    assert (job["state"], job["attempt"]) == ("succeeded", 2)
    site.check_history([job_id])


def test_a_listing_of_an_object_store_that_is_killed_goes_on_at_its_last_page(start_site, bucket, tmp_path):
    bucket.put({f"{number:05d}.png": b"no picture" for number in range(2500)})
    bucket.server.trouble()
    (tmp_path / "lake.toml").write_text(
        "[lake]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in bucket.table().items())
    )
    crash = f"reading:2:{tmp_path / 'crashed'}"
    site = start_site(WINNOW_CONNECTIONS=str(tmp_path / "lake.toml"), WINNOW_CRASH_AT=crash)
    assert listed(site, {"type": "object_store", "connection": "lake"})["counts"]["items"] == 2500
    assert (tmp_path / "crashed").exists()
    assert bucket.server.calls()["list"] == 3


def test_a_list_of_urls_that_is_killed_fetches_nothing_twice(start_site, site, tmp_path):
    site.pages = {f"/{number}.png": b"%d" % number for number in range(200)}
    service = start_site(
        WINNOW_ALLOW_URLS="true",
        WINNOW_PRIVATE_URL_HOSTS=f"127.0.0.1:{site.port}",
        WINNOW_CRASH_AT=f"reading:60:{tmp_path / 'crashed'}",
    )
    counts = listed(service, {"type": "urls", "urls": [site.url + path for path in site.pages]})["counts"]
    assert counts == {"items": 200, "bytes": sum(map(len, site.pages.values())), "quarantined": 0}
    assert (tmp_path / "crashed").exists()
    twice = [path for path, times in site.asked.items() if times > 1]
    assert len(twice) <= 16, "more than what was under way as it died"


def listed(site, source):
    with site.client() as client:
        dataset = client.create_dataset(source)
        deadline = time.monotonic() + 60
        while dataset["state"] == "pending" and time.monotonic() < deadline:
            time.sleep(0.2)
            dataset = client.dataset(dataset["id"])
    assert dataset["state"] == "ready", dataset
    return dataset
