"""A key brings back the first answer, and only to the request it was given with."""

import pytest

from winnow.errors import IdempotencyKeyReused
from winnow.store import idempotency
from winnow.store.tables import idempotency as table


def test_the_first_answer_is_replayed(database, caller):
    with database.begin() as connection:
        assert idempotency.find(connection, caller.tenant_id, "k", "sha") is None
        assert idempotency.remember(connection, caller.tenant_id, "k", "sha", 202, {"id": "job_1"})
        assert not idempotency.remember(connection, caller.tenant_id, "k", "sha", 202, {"id": "job_2"})
        assert idempotency.find(connection, caller.tenant_id, "k", "sha") == idempotency.Answer(202, {"id": "job_1"})


def test_the_key_of_another_request_is_refused(database, caller):
    with database.begin() as connection:
        idempotency.remember(connection, caller.tenant_id, "k", "sha", 202, {})
        with pytest.raises(IdempotencyKeyReused):
            idempotency.find(connection, caller.tenant_id, "k", "other")


def test_answers_are_kept_two_days(database, caller):
    with database.begin() as connection:
        idempotency.remember(connection, caller.tenant_id, "old", "sha", 202, {})
        idempotency.remember(connection, caller.tenant_id, "new", "sha", 202, {})
        a_while_ago = table.c.created_at - 49 * 3600.0
        connection.execute(table.update().where(table.c.key == "old").values(created_at=a_while_ago))
        assert idempotency.forget_old(connection) == 1
        assert idempotency.find(connection, caller.tenant_id, "new", "sha") is not None
