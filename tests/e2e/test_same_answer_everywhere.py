"""One dataset, one digest: whatever the order, the place, the threads, the database or the worker."""

import random
import shutil

import pytest

SELECTION = {"method": "coreset", "target": {"fraction": 0.2}}


@pytest.fixture
def digest(start_service):
    def digest(folder, where, **settings):
        where.mkdir()
        with start_service(where, WINNOW_ALLOW_ROOTS=str(folder), **settings) as service:
            job = service.filter({"type": "folder", "path": str(folder)}, SELECTION)
            assert job["state"] == "succeeded", job
            return job["digests"]["selection"], service.paths(job)

    return digest


@pytest.mark.postgres
@pytest.mark.redis
def test_order_place_threads_and_database_leave_the_digest_alone(
    tmp_path, make_pictures, digest, postgres_url, redis_url
):
    def shuffled(numbers):
        return random.Random(7).sample(numbers, len(numbers))

    sorted_on_disk = make_pictures(tmp_path / "a")
    reversed_on_disk = make_pictures(tmp_path / "b" / "moved", lambda numbers: numbers[::-1])
    shuffled_on_disk = make_pictures(tmp_path / "c", shuffled)
    production = {"WINNOW_DATABASE_URL": postgres_url, "WINNOW_BROKER_URL": redis_url}
    answers = []
    for number, (folder, settings) in enumerate(
        [
            (sorted_on_disk, {"WINNOW_THREADS": "1"}),
            (reversed_on_disk, {"WINNOW_THREADS": "2"}),
            (shuffled_on_disk, production | {"WINNOW_THREADS": "2"}),
        ]
    ):
        answers.append(digest(folder, tmp_path / f"service-{number}", **settings))
    assert answers[0] == answers[1] == answers[2]


def test_other_names_for_the_same_pictures_keep_the_digest(tmp_path, make_pictures, digest):
    first = make_pictures(tmp_path / "first")
    second = tmp_path / "second"
    shutil.copytree(first, second)
    for number, path in enumerate(sorted(second.rglob("*.png"))):
        path.rename(path.with_name(f"renamed-{1000 - number}.png"))
    assert digest(first, tmp_path / "one")[0] == digest(second, tmp_path / "two")[0]
