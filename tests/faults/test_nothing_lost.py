"""Kill anything while jobs run: every acknowledged job ends once, with the bytes of a quiet run."""

import signal
import time
from contextlib import suppress

import numpy as np
import psutil
import pytest
import redis

from winnow.queues import COMPUTE_QUEUE, KEY_PREFIX

COUNTS = (5, 8, 13, 21, 34)  # a few different jobs, so that a mixed-up result would show


def quiet_answers(site, client, dataset_id):
    """What each job says when nobody disturbs it."""
    jobs = {count: site.submit(client, dataset_id, count, f"quiet-{count}") for count in COUNTS}
    site.wait_all(client, list(jobs.values()), 60)
    return {count: site.answer(client, job_id) for count, job_id in jobs.items()}, list(jobs.values())


def run_under_faults(site, dice, faults, *, jobs, pause_s=2.5):
    with site.client() as client:
        dataset_id = site.dataset(client)
        expected, quiet = quiet_answers(site, client, dataset_id)
        asked = {site.submit(client, dataset_id, COUNTS[n % 5], f"job-{n}"): COUNTS[n % 5] for n in range(jobs)}
        order = faults * 2
        dice.shuffle(order)
        for number, fault in enumerate(order):
            print("fault:", fault.__name__)
            fault()
            # Asking again with the same key, as a client does that never saw the answer, makes no second job.
            count = COUNTS[number % 5]
            assert asked[site.submit(client, dataset_id, count, f"job-{number}")] == count
            time.sleep(dice.uniform(0.2, pause_s))
        done = site.wait_all(client, list(asked), 150)
        assert {job["state"] for job in done.values()} == {"succeeded"}, done
        for job_id, count in asked.items():
            assert site.answer(client, job_id) == expected[count]
    site.check_history([*asked, *quiet])


def killers(site):
    """Faults every deployment knows."""

    def kill_worker():
        site.worker.signal(signal.SIGKILL)

    def kill_api():
        site.api.signal(signal.SIGKILL)

    def kill_computations():
        for child in site.computations():
            with suppress(psutil.Error):
                child.kill()

    def freeze_worker_past_its_lease():
        frozen = site.worker.process
        site.worker.signal(signal.SIGSTOP)
        time.sleep(4)
        with suppress(ProcessLookupError):
            frozen.send_signal(signal.SIGCONT)

    return [kill_worker, kill_api, kill_computations, freeze_worker_past_its_lease]


def server_faults(postgres, broker):
    """What may happen to the two servers."""

    def kill_redis():
        broker.kill()
        time.sleep(1)
        broker.restart()

    def kill_postgres():
        postgres.kill()
        postgres.restart()

    def flush_redis():
        with redis.Redis.from_url(broker.url) as client:
            client.flushall()

    def feed_garbage():
        with redis.Redis.from_url(broker.url) as client:
            for message in (b"not json", b"[]", b"{}", b'{"body": "%%%", "properties": {}, "headers": {}}'):
                client.lpush(KEY_PREFIX + COMPUTE_QUEUE, message)

    return [kill_redis, kill_postgres, flush_redis, feed_garbage]


def network_faults(wires):
    """What may happen on the way to them."""

    def cut_the_network():
        for wire in wires:
            wire.cut()
        time.sleep(2)
        for wire in wires:
            wire.mend()

    def swallow_what_is_sent():
        for wire in wires:
            wire.hold()
        time.sleep(4)
        for wire in wires:
            wire.mend()

    return [cut_the_network, swallow_what_is_sent]


@pytest.mark.timeout(280)
def test_embedded_every_job_ends_once_with_the_right_bytes(start_site, dice):
    site = start_site()
    run_under_faults(site, dice, killers(site)[:3], jobs=15)


@pytest.mark.timeout(280)
@pytest.mark.postgres
@pytest.mark.redis
def test_in_production_every_job_ends_once_with_the_right_bytes(start_site, postgres, broker, stretch, dice):
    wires = [stretch(postgres.port), stretch(broker.port)]
    site = start_site(
        WINNOW_DATABASE_URL=postgres.url.replace(str(postgres.port), str(wires[0].port)),
        WINNOW_BROKER_URL=broker.url.replace(str(broker.port), str(wires[1].port)),
    )

    faults = [*killers(site), *server_faults(postgres, broker), *network_faults(wires)]
    run_under_faults(site, dice, faults, jobs=45)


def test_a_running_job_is_cancelled_within_seconds(start_site, tmp_path):
    site = start_site()
    np.save(site.vectors, np.random.default_rng(0).normal(size=(120_000, 64)).astype(np.float32))
    with site.client() as client:
        job_id = site.submit(client, site.dataset(client), 100_000, "long")
        wait_for(lambda: client.get(job_id)["stage"] == "selecting", 60)
        asked_at = time.monotonic()
        client.cancel(job_id)
        wait_for(lambda: client.get(job_id)["state"] == "cancelled", 5)
        assert time.monotonic() - asked_at < 3
    assert not site.computations()


def test_a_worker_told_to_stop_hands_its_job_back_at_once_and_unharmed(start_site, tmp_path):
    site = start_site()
    np.save(site.vectors, np.random.default_rng(0).normal(size=(120_000, 64)).astype(np.float32))
    with site.client() as client:
        job_id = site.submit(client, site.dataset(client), 100_000, "long")
        wait_for(lambda: client.get(job_id)["stage"] == "selecting", 60)
        first = site.worker.process
        site.worker.signal(signal.SIGTERM)
        assert first.wait(5) == 0
        wait_for(lambda: client.get(job_id)["attempt"] == 2, 10)
        client.cancel(job_id)


def test_a_job_that_always_kills_its_process_fails_after_three_crashes(start_site):
    site = start_site(WINNOW_CRASH_AT="selecting:1")
    with site.client() as client:
        job_id = site.submit(client, site.dataset(client), 5, "deadly")
        job = site.wait_all(client, [job_id], 60)[job_id]
    assert (job["state"], job["error"]["code"], job["attempt"]) == ("failed", "WORKER_CRASHED", 3)


def wait_for(true, limit_s):
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
