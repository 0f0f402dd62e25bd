"""The job table keeps its promises on both databases: one claim, fenced verdicts, nothing lost, nothing rewritten."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DatabaseError

from winnow.store import datasets, jobs, keys
from winnow.store.tables import job


@pytest.fixture
def submit(database, caller, dataset_id):
    def submit(**changes):
        with database.begin() as connection:
            return jobs.submit(
                connection,
                tenant_id=changes.pop("tenant_id", caller.tenant_id),
                kind="filter",
                dataset_id=dataset_id,
                spec={"seed": 0},
                run_limit_s=60,
                **changes,
            ).id

    return submit


@pytest.fixture
def claim(database):
    def claim(lease_s=30.0):
        with database.begin() as connection:
            return jobs.claim(connection, owner="worker-1", lease_s=lease_s)

    return claim


@pytest.fixture
def look(database, caller):
    def look(job_id):
        with database.read() as connection:
            return jobs.get(connection, caller.tenant_id, job_id)

    return look


def call(database, function, *arguments, **options):
    with database.begin() as connection:
        return function(connection, *arguments, **options)


def finish(database, held):
    return call(database, jobs.finish, held, counts={"selected": 1}, digests={"selection": "sha256:0"}, files={})


def crash(database, held):
    return call(database, jobs.crash, held, code="WORKER_CRASHED", error={"detail": "signal 9"})


def due_now(database, job_id):
    """Skip a backoff."""
    call(database, lambda connection: connection.execute(update(job).where(job.c.id == job_id).values(run_after=0.0)))


def test_a_job_goes_from_queued_to_succeeded_with_its_result(database, submit, claim, look):
    job_id = submit()
    held = claim()
    assert (held.job_id, held.attempt, held.spec) == (job_id, 1, {"seed": 0})
    assert finish(database, held)
    row = look(job_id)
    assert (row.state, row.result_counts, row.result_attempt) == ("succeeded", {"selected": 1}, 1)
    with database.read() as connection:
        assert [event.event for event in jobs.events(connection, job_id)] == ["queued", "started", "succeeded"]


def test_jobs_are_claimed_by_priority_and_then_by_age(submit, claim, database, caller):
    call(database, keys.set_quota, caller.tenant_name, max_running=10)
    first, second, urgent = submit(), submit(), submit(priority=5)
    assert [claim().job_id for _ in range(3)] == [urgent, first, second]
    assert claim() is None


def test_a_tenant_never_runs_more_jobs_than_its_quota(submit, claim, database, caller):
    call(database, keys.set_quota, caller.tenant_name, max_running=2)
    for _ in range(4):
        submit()
    held = [claim(), claim()]
    assert all(held)
    assert claim() is None
    finish(database, held[0])
    assert claim() is not None


def test_many_workers_never_claim_the_same_job(submit, claim, database, caller):
    call(database, keys.set_quota, caller.tenant_name, max_running=100)
    submitted = {submit() for _ in range(12)}
    with ThreadPoolExecutor(6) as workers:
        claims = [held for held in workers.map(lambda _: claim(), range(30)) if held]
    assert {held.job_id for held in claims} == submitted
    assert len(claims) == len(submitted)


def test_a_worker_that_lost_its_lease_can_change_nothing(database, submit, claim, look):
    job_id = submit()
    zombie = claim(lease_s=-1.0)
    assert call(database, jobs.reap, lease_s=0.001) == [job_id]
    assert call(database, jobs.beat, zombie, lease_s=30, stage=None, progress=None) == "lost"
    assert not finish(database, zombie)
    due_now(database, job_id)
    winner = claim()
    assert winner.attempt == 2
    assert not finish(database, zombie)
    assert not call(database, jobs.release, zombie)
    assert finish(database, winner)
    assert look(job_id).result_attempt == 2


def test_a_lease_that_is_renewed_is_not_reaped(database, submit, claim):
    submit()
    held = claim(lease_s=0.5)
    assert call(database, jobs.beat, held, lease_s=30, stage="embedding", progress={"fraction": 0.5}) == "held"
    time.sleep(0.6)
    assert call(database, jobs.reap, lease_s=0.001) == []


def test_cancelling_a_queued_job_ends_it_and_a_running_one_is_told_by_the_beat(database, submit, claim, look, caller):
    waiting = submit()
    assert call(database, jobs.request_cancel, caller.tenant_id, waiting) == "cancelled"
    assert call(database, jobs.request_cancel, caller.tenant_id, waiting) is None
    running = submit()
    held = claim()
    assert call(database, jobs.request_cancel, caller.tenant_id, running) == "running"
    assert call(database, jobs.beat, held, lease_s=30, stage=None, progress=None) == "cancel"
    assert call(database, jobs.cancelled, held)
    assert look(running).state == "cancelled"


def test_a_cancelled_job_whose_worker_died_ends_as_cancelled(database, submit, claim, look, caller):
    job_id = submit()
    claim(lease_s=-1.0)
    call(database, jobs.request_cancel, caller.tenant_id, job_id)
    call(database, jobs.reap, lease_s=0.001)
    assert look(job_id).state == "cancelled"


def test_the_third_crash_fails_the_job_and_the_first_two_do_not(database, submit, claim, look):
    job_id = submit()
    for state in ("queued", "queued", "failed"):
        due_now(database, job_id)
        assert crash(database, claim())
        assert look(job_id).state == state
    assert look(job_id).error_code == "WORKER_CRASHED"


def test_transient_errors_are_tried_again_and_fatal_ones_are_not(database, submit, claim, look):
    job_id = submit()
    error = {"detail": "disk full"}
    call(database, jobs.fail, claim(), code="STORAGE_FULL", error=error, transient=True)
    assert (look(job_id).state, look(job_id).failures) == ("queued", 1)
    due_now(database, job_id)
    call(database, jobs.fail, claim(), code="DATASET_EMPTY", error={"detail": "nothing"})
    assert (look(job_id).state, look(job_id).error_code) == ("failed", "DATASET_EMPTY")


def test_a_release_gives_the_job_back_at_once_and_unharmed(database, submit, claim, look):
    job_id = submit()
    call(database, jobs.release, claim())
    row = look(job_id)
    assert (row.state, row.releases, row.crashes, row.lost, row.failures) == ("queued", 1, 0, 0, 0)
    assert claim().attempt == 2


def test_a_queued_job_is_rung_until_somebody_takes_it(database, submit, claim):
    job_id = submit()
    assert call(database, jobs.due_to_ring) == [job_id]
    assert call(database, jobs.due_to_ring) == []
    call(database, lambda connection: connection.execute(update(job).values(rung_at=0.0)))
    assert call(database, jobs.due_to_ring) == [job_id]
    claim()
    call(database, lambda connection: connection.execute(update(job).values(rung_at=0.0)))
    assert call(database, jobs.due_to_ring) == []


def test_only_an_ended_job_can_be_removed_and_its_events_go_with_it(database, submit, claim, caller):
    job_id = submit()
    held = claim()
    assert not call(database, jobs.remove, caller.tenant_id, job_id)
    finish(database, held)
    assert call(database, jobs.remove, caller.tenant_id, job_id)
    with database.read() as connection:
        assert jobs.events(connection, job_id) == []


def test_another_tenants_job_does_not_exist(database, submit, look):
    job_id = submit()
    with database.begin() as connection:
        stranger = keys.ensure_tenant(connection, "stranger").id
        assert jobs.get(connection, stranger, job_id) is None
        assert jobs.request_cancel(connection, stranger, job_id) is None
        assert not jobs.remove(connection, stranger, job_id)
        assert jobs.page(connection, stranger, size=10) == []
    assert look(job_id).state == "queued"


def test_paging_visits_every_job_once_newest_first(database, submit, caller):
    submitted = [submit() for _ in range(7)]
    seen, after = [], None
    while True:
        with database.read() as connection:
            rows = jobs.page(connection, caller.tenant_id, size=3, after=after)
        if not rows:
            break
        seen += [row.id for row in rows]
        after = (rows[-1].created_at, rows[-1].id)
    assert seen == submitted[::-1]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE job SET state = 'queued', finished_at = NULL WHERE id = :id",
        "UPDATE job SET attempt = attempt + 1 WHERE id = :id",
        "UPDATE job SET finished_at = finished_at + 1 WHERE id = :id",
    ],
)
def test_the_database_itself_refuses_to_rewrite_a_verdict(database, submit, claim, statement):
    job_id = submit()
    finish(database, claim())
    with pytest.raises(DatabaseError), database.begin() as connection:
        connection.execute(text(statement), {"id": job_id})


def test_the_database_itself_refuses_an_illegal_transition(database, submit):
    job_id = submit()
    statement = "UPDATE job SET state = 'succeeded', finished_at = 1.0 WHERE id = :id"
    with pytest.raises(DatabaseError), database.begin() as connection:
        connection.execute(text(statement), {"id": job_id})


def test_an_end_asked_for_in_the_last_moment_is_an_end(database, submit, claim, look, caller):
    job_id = submit()
    held = claim()
    for _ in range(3):
        with database.begin() as connection:
            assert jobs.request_cancel(connection, caller.tenant_id, job_id) == "running"
    with database.begin() as connection:
        assert jobs.finish(connection, held, counts={}, digests={}, files={})
        told = [event.event for event in jobs.events(connection, job_id)]
    assert look(job_id).state == "cancelled"
    assert told.count("cancelling") == 1


def test_a_dataset_whose_job_failed_before_it_was_listed_says_why(database, submit, claim, caller, dataset_id):
    submit()
    error = {"code": "SOURCE_GONE", "title": "gone", "detail": "gone"}
    with database.begin() as connection:
        jobs.fail(connection, claim_in(connection), code="SOURCE_GONE", error=error)
        row = datasets.get(connection, caller.tenant_id, dataset_id)
    assert (row.state, row.error["code"]) == ("failed", "SOURCE_GONE")


def claim_in(connection):
    return jobs.claim(connection, owner="worker-1", lease_s=30)
