"""A computation that takes too long, stands still or eats too much is ended and named; nothing of it stays."""

import signal
import time

import pytest

from winnow.store import keys


def frozen_job(site, client):
    """A job whose process stands still, as one that waits for ever for a dead disk."""
    dataset_id = site.dataset(client)
    wait_for(lambda: client.dataset(dataset_id)["state"] == "ready" and not site.computations())
    job_id = site.submit(client, dataset_id, 5, "frozen")
    child = wait_for(lambda: next(iter(site.computations()), None))
    child.send_signal(signal.SIGSTOP)
    return job_id, child


def wait_for(found, limit_s=30):
    deadline = time.monotonic() + limit_s
    while not (what := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return what


def test_past_its_deadline(start_site):
    site = start_site(WINNOW_RUN_LIMIT_S="2")
    with site.client() as client:
        job_id, child = frozen_job(site, client)
        asked_at = time.monotonic()
        job = site.wait_all(client, [job_id], 20)[job_id]
    assert (job["state"], job["error"]["code"], job["attempt"]) == ("failed", "DEADLINE_EXCEEDED", 1)
    assert time.monotonic() - asked_at < 2 + 3
    assert not child.is_running()


def test_a_computation_that_stands_still_is_started_again(start_site):
    site = start_site(WINNOW_STALL_S="6")  # longer than a busy machine takes to start a computation
    with site.client() as client:
        job_id, child = frozen_job(site, client)
        job = site.wait_all(client, [job_id], 60)[job_id]
    assert (job["state"], job["attempt"]) == ("succeeded", 2)
    assert not child.is_running()


def test_one_that_always_stands_still_fails_after_three_attempts(start_site):
    site = start_site(WINNOW_STALL_S="0.01", WINNOW_BEAT_S="0.05")  # sooner than any computation ends
    with site.client() as client:
        job_id = site.submit(client, site.dataset(client), 5, "still")
        job = site.wait_all(client, [job_id], 60)[job_id]
    assert (job["state"], job["error"]["code"], job["attempt"]) == ("failed", "STALLED", 3)


def test_more_memory_than_a_worker_may_use(start_site):
    site = start_site(WINNOW_CHILD_MEMORY_BYTES=str(20 << 20), WINNOW_BEAT_S="0.05")
    with site.client() as client:
        job_id = site.submit(client, site.dataset(client), 5, "hungry")
        job = site.wait_all(client, [job_id], 30)[job_id]
    assert (job["state"], job["error"]["code"], job["attempt"]) == ("failed", "MEMORY_LIMIT", 1)
    assert "filter a part" in job["error"]["detail"]
    assert not site.computations()


def test_more_items_than_the_tenant_may_have(start_site):
    site = start_site()
    with site.database.begin() as connection:
        keys.set_quota(connection, keys.LOCAL_TENANT, max_items=1999)
    with site.client() as client:
        job_id = site.submit(client, site.dataset(client), 5, "large")
        job = site.wait_all(client, [job_id], 30)[job_id]
    assert (job["state"], job["error"]["code"]) == ("failed", "TOO_MANY_ITEMS")
    assert "1999" in job["error"]["detail"]


@pytest.mark.timeout(120)
def test_a_full_disk_delays_a_job_and_spoils_nothing(start_site, small_disk):
    site = start_site(WINNOW_DATA_DIR=str(small_disk))
    with site.client() as client:
        dataset_id = site.dataset(client)
        filler = small_disk / "filler"
        filler.write_bytes(bytes(290 << 20))
        job_id = site.submit(client, dataset_id, 5, "patient")
        wait_for(lambda: client.get(job_id)["attempt"] >= 1 and client.get(job_id)["state"] == "queued")
        refused = site.upload(bytes(20 << 20))
        assert (refused.status_code, refused.json()["code"]) == (507, "STORAGE_FULL")
        filler.unlink()
        job = site.wait_all(client, [job_id], 60)[job_id]
    assert job["state"] == "succeeded"
    assert not [*small_disk.rglob(".tmp.*")]
