"""API keys open exactly what they should, for as long as they should, and are not kept in clear."""

import pytest

from winnow.errors import InvalidRequest, NotFound, Unauthenticated
from winnow.store import keys
from winnow.store.tables import api_key


@pytest.fixture
def connection(database):
    with database.begin() as connection:
        yield connection


def test_a_key_opens_its_tenant_with_its_scopes(connection):
    _, key = keys.create(connection, "acme", ["read", "write"])
    caller = keys.authenticate(connection, key)
    assert (caller.tenant_name, caller.scopes) == ("acme", {"read", "write"})


def test_the_database_keeps_no_part_of_the_secret(connection):
    _, key = keys.create(connection, "acme", ["read"])
    secret = key.split("_", 2)[2]
    stored = repr(connection.execute(api_key.select()).one()._mapping)
    assert secret not in stored


@pytest.mark.parametrize(
    "broken", ["", "wn_", "wn_000000000000_" + "x" * 43, "Bearer x", "wn_\x00", "é" * 60, "\ud800"]
)
def test_what_is_not_a_key_opens_nothing(connection, broken):
    with pytest.raises(Unauthenticated):
        keys.authenticate(connection, broken)


def test_the_right_prefix_with_a_wrong_secret_is_refused(connection):
    prefix, _ = keys.create(connection, "acme", ["read"])
    with pytest.raises(Unauthenticated):
        keys.authenticate(connection, f"wn_{prefix}_{'A' * 43}")


def test_revoked_and_expired_keys_are_refused(connection):
    prefix, revoked = keys.create(connection, "acme", ["read"])
    keys.revoke(connection, prefix)
    _, expired = keys.create(connection, "acme", ["read"], expires_at=1.0)
    for key in (revoked, expired):
        with pytest.raises(Unauthenticated):
            keys.authenticate(connection, key)
    with pytest.raises(NotFound):
        keys.revoke(connection, prefix)


def test_rotation_keeps_the_rights_and_the_old_key_for_the_grace_only(connection):
    prefix, old = keys.create(connection, "acme", ["read"])
    _, new = keys.rotate(connection, prefix, grace_s=60.0)
    assert keys.authenticate(connection, old) == keys.authenticate(connection, new)
    prefix, old = keys.create(connection, "acme", ["read"])
    keys.rotate(connection, prefix)
    with pytest.raises(Unauthenticated):
        keys.authenticate(connection, old)


def test_unknown_scopes_are_refused(connection):
    with pytest.raises(InvalidRequest, match="scopes"):
        keys.create(connection, "acme", ["root"])


def test_the_first_use_of_a_key_is_noted(connection):
    _, key = keys.create(connection, "acme", ["read"])
    keys.touch(connection, key)
    assert keys.page(connection)[0].last_used_at is not None
