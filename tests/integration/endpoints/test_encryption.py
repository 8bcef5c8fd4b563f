"""Secrets of endpoints in the database: written encrypted, converted, moved along with what they belong to."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.rows import dict_row

from cdc_bridge.checks.encryption import judged
from cdc_bridge.checks.verdict import Verdict
from cdc_bridge.endpoints.admin import add_endpoint, set_endpoint
from cdc_bridge.endpoints.encryption import convert_secrets
from cdc_bridge.endpoints.manifest import read_manifest
from cdc_bridge.endpoints.manifest_store import apply_plan, exported_endpoints, new_secrets_for, prepare_manifest
from cdc_bridge.endpoints.options import UnusableOption
from cdc_bridge.endpoints.secrets_cipher import NO_KEYS, SecretsCipher, key_id_of
from cdc_bridge.endpoints.signing_secret import rotate_secret
from cdc_bridge.endpoints.store import list_endpoints
from cdc_bridge.endpoints.stored_secrets import WITH_SECRETS, decrypted, secrets_in
from cdc_bridge.errors import Conflict, InstallationError, SettingsError, WrongUsage
from tests.support.access import ANNA
from tests.support.databases import Database

FIRST, SECOND = SecretsCipher([b"1" * 32]), SecretsCipher([b"2" * 32])
BOTH = SecretsCipher([b"2" * 32, b"1" * 32])
GIVEN = {
    "url": "https://till.example/?token=of-the-url",
    "headers": ["X-Api-Key: of-a-header"],
    "proxy": "http://user:of-the-proxy@proxy:3128",
}
NUMBER = 4  # with the signing secret
ROW = "select e::text from cdc_bridge.endpoint e where name = %s"
KEYS = "select name, option, key_id from cdc_bridge.endpoint_secret order by name, option"
AUDIT = "select action, endpoint, details->>'key', (details->>'secrets')::int from cdc_bridge.audit order by audit_id"


async def add(database: Database, cipher: SecretsCipher, name: str = "till", **given: Any) -> None:
    await add_endpoint(
        database.bridge_url, name, GIVEN | given,
        allow_http=False, cipher=cipher, from_oldest=False, signed=True, by=ANNA,
    )  # fmt: skip


async def change(database: Database, cipher: SecretsCipher, given: dict[str, Any], **how: Any) -> None:
    await set_endpoint(database.bridge_url, "till", given, allow_http=False, cipher=cipher, by=ANNA, **how)


async def read(database: Database, cipher: SecretsCipher, name: str = "till") -> dict[str, Any]:
    async with database.connection() as connection:
        return next(decrypted(cipher, row) for row in await list_endpoints(connection) if row["name"] == name)


def keys_of(database: Database) -> set[str | None]:
    return {key_id for _, _, key_id in database.execute(KEYS)}


async def test_nothing_secret_is_in_the_row_and_all_of_it_is_read(database: Database) -> None:
    await add(database, FIRST)
    row = await read(database, FIRST)
    assert {name: row[name] for name in GIVEN} == GIVEN
    await rotate_secret(database.bridge_url, "till", cipher=FIRST, keep_old_hours=1, cut_short=False, by=ANNA)
    rotated = await read(database, FIRST)
    assert rotated["previous_secret"] == row["secret"] != rotated["secret"]
    written = database.value(ROW, ("till",))
    secrets = [*secrets_in(row), *secrets_in(rotated)]
    assert [secret for secret in secrets if secret in written] == []
    assert keys_of(database) == {FIRST.newest}


async def test_view_finds_what_the_declaration_calls_secret(database: Database) -> None:
    await add(database, FIRST)
    await add(database, SECOND, "other", headers=["X-Api-Key: x", "X-Other: y"])
    database.execute("update cdc_bridge.endpoint set headers[2] = 'X-Other: encrypted1.0badc0de' where name = 'other'")
    await add(database, FIRST, "bare", url="https://till.example", headers=[], proxy="http://proxy:3128")
    async with database.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("select * from cdc_bridge.endpoint")
        rows = await cursor.fetchall()
    declared = sorted(
        (row["name"], option.name, key_id_of(secret) or "")
        for row in rows
        for option in WITH_SECRETS
        for secret in secrets_in({option.name: row[option.name]})
    )
    assert len(declared) == NUMBER + NUMBER + 1 + 1
    assert sorted((name, option, key_id or "") for name, option, key_id in database.execute(KEYS)) == declared


async def test_conversion_is_repeatable_and_audited_and_shows_how_many(database: Database) -> None:
    await add(database, NO_KEYS)
    await add(database, NO_KEYS, "bar")
    plain = await read(database, NO_KEYS)

    async def converted(cipher: SecretsCipher, *, decrypt: bool = False) -> tuple[int, int]:
        done = await convert_secrets(database.bridge_url, cipher, decrypt=decrypt, by=ANNA)
        assert done.left == {}
        return done.endpoints, done.secrets

    assert await converted(FIRST) == (2, 2 * NUMBER)
    assert await converted(FIRST) == (0, 0)
    assert await converted(BOTH) == (2, 2 * NUMBER)
    assert keys_of(database) == {BOTH.newest}
    assert await read(database, SECOND) == plain
    assert await converted(SECOND, decrypt=True) == (2, 2 * NUMBER)
    assert await converted(SECOND, decrypt=True) == (0, 0)
    assert await read(database, NO_KEYS) == plain
    assert database.execute(AUDIT)[2:] == [
        (action, name, key, NUMBER)
        for action, key in (
            ("secrets encrypted", FIRST.newest), ("secrets encrypted", SECOND.newest), ("secrets decrypted", None),
        )
        for name in ("bar", "till")
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="secrets_key_file is not set"):
        await converted(NO_KEYS)


async def test_endpoint_that_cannot_be_decrypted_is_named_and_the_others_are_converted(database: Database) -> None:
    await add(database, FIRST)
    await add(database, SECOND, "bar")
    before = database.value(ROW, ("till",))
    done = await convert_secrets(database.bridge_url, SecretsCipher([b"4" * 32, b"2" * 32]), decrypt=False, by=ANNA)
    assert (done.endpoints, [*done.left]) == (1, ["till"])
    assert f"is encrypted with key {FIRST.newest}, which is not in secrets_key_file" in done.left["till"]
    assert database.value(ROW, ("till",)) == before


async def test_endpoint_is_converted_with_its_entry_of_the_audit_log_or_not_at_all(database: Database) -> None:
    await add(database, NO_KEYS)
    before = database.value(ROW, ("till",))
    database.execute("revoke insert on cdc_bridge.audit from cdc_bridge")
    with pytest.raises(InstallationError, match="may not do this"):
        await convert_secrets(database.bridge_url, FIRST, decrypt=False, by=ANNA)
    assert database.value(ROW, ("till",)) == before


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("thief", "headers = (select o.headers from cdc_bridge.endpoint o where o.name = 'till')"),
        ("till", "url = 'https://thief.example'"),
        ("till", "proxy = regexp_replace(proxy, '@.*', '@thief.example:3128')"),
        ("till", "headers = array['X-Api-Key: ' || secret]"),
    ],
)
async def test_who_writes_to_the_table_without_a_key_cannot_have_a_secret_sent_elsewhere(
    database: Database, name: str, change: str
) -> None:
    await add(database, FIRST)
    await add(database, FIRST, "thief", url="https://thief.example")
    database.execute(f"update cdc_bridge.endpoint set {change} where name = %s", (name,))
    with pytest.raises(UnusableOption, match="cannot be decrypted with key"):
        await read(database, FIRST, name)


async def test_headers_go_to_another_server_only_by_who_has_the_key(database: Database) -> None:
    await add(database, FIRST)
    elsewhere = {"url": "https://other.example"}
    with pytest.raises(Conflict, match="headers is encrypted with key"):
        await change(database, NO_KEYS, elsewhere, keep_headers=True)
    await change(database, FIRST, elsewhere, keep_headers=True)
    row = await read(database, FIRST)
    assert (row["url"], row["headers"]) == ("https://other.example", GIVEN["headers"])


async def test_what_is_no_secret_is_changed_without_a_key_and_a_secret_is_not_written_in_plain_text(
    database: Database,
) -> None:
    await add(database, FIRST)
    await change(database, NO_KEYS, {"max_in_flight": 3, "url": "https://till.example/v2"})
    assert (await read(database, FIRST))["headers"] == GIVEN["headers"]
    words = "the secrets in this database are encrypted"
    with pytest.raises(Conflict, match=words):
        await change(database, NO_KEYS, {"headers": ["X-Api-Key: new"]})
    with pytest.raises(Conflict, match=words):
        await rotate_secret(database.bridge_url, "till", cipher=NO_KEYS, keep_old_hours=1, cut_short=True, by=ANNA)
    with pytest.raises(Conflict, match=words):
        await add(database, NO_KEYS, "bar")
    manifest = read_manifest('[endpoints.bar]\nurl = "https://bar.example"\n', allow_http=False, secret_in=str)
    with pytest.raises(Conflict, match=words):
        await prepare_manifest(
            database.bridge_url, manifest, cipher=NO_KEYS, prune=False, keep_headers=False, new_secrets=False
        )


async def test_secret_that_signs_already_is_recognised(database: Database) -> None:
    await add(database, FIRST)
    secret = (await read(database, FIRST))["secret"]
    with pytest.raises(WrongUsage, match="signed with this secret already"):
        await rotate_secret(
            database.bridge_url, "till", cipher=BOTH, keep_old_hours=1, cut_short=False, secret=secret, by=ANNA
        )


async def test_lost_key_is_mended_by_new_values(database: Database) -> None:
    await add(database, FIRST)
    await change(database, SECOND, {**GIVEN, "url": "https://till.example"})
    await rotate_secret(database.bridge_url, "till", cipher=SECOND, keep_old_hours=0, cut_short=False, by=ANNA)
    assert (await read(database, SECOND))["headers"] == GIVEN["headers"]
    assert keys_of(database) == {SECOND.newest}


async def test_manifest_compares_and_writes_what_is_encrypted(database: Database) -> None:
    async def applied(text: str, cipher: SecretsCipher = BOTH) -> list[tuple[str, ...]]:
        manifest = read_manifest(text, allow_http=False, secret_in=str)
        prepared = await prepare_manifest(
            database.bridge_url, manifest, cipher=cipher, prune=False, keep_headers=True, new_secrets=False
        )
        assert prepared.faults == ()
        plan = prepared.plan
        secrets = new_secrets_for(plan)
        await apply_plan(database.bridge_url, plan, secrets, cipher=cipher, from_oldest=False, by=ANNA)
        return [each.options for each in plan.changed]

    await add(database, FIRST)
    table = f'[endpoints.till]\nurl = "{GIVEN["url"]}"\nproxy = "{GIVEN["proxy"]}"\nheaders = '
    assert await applied(f'{table}["X-Api-Key: of-a-header"]') == []
    assert await applied(f'{table}["X-Api-Key: ***"]') == []
    assert await applied(f'{table}["X-Api-Key: new"]\n[endpoints.bar]\nurl = "https://bar.example?x"') == [("headers",)]
    assert (await read(database, BOTH))["headers"] == ["X-Api-Key: new"]
    moved = table.replace("till.example", "other.example")
    assert await applied(f'{moved}["X-Api-Key: ***"]') == [("url",)]
    assert (await read(database, BOTH))["headers"] == ["X-Api-Key: new"]
    assert (await read(database, SECOND, "bar"))["url"] == "https://bar.example?x"
    exported = await exported_endpoints(database.bridge_url, ["till"])
    assert [endpoint.name for endpoint in exported] == ["till"]


@pytest.mark.parametrize(
    ("in_use", "keys", "verdict", "words"),
    [
        ({}, (), Verdict.OK, "off; secrets of endpoints in plain text: 0"),
        ({None: 3}, (), Verdict.OK, "off; secrets of endpoints in plain text: 3"),
        ({"a": 2, None: 3}, (), Verdict.WARNING, "secrets_key_file is not set here"),
        ({}, ("a",), Verdict.OK, "all secrets of endpoints, 0, are encrypted with key a"),
        ({"a": 2}, ("a", "b"), Verdict.OK, "all secrets of endpoints, 2, are encrypted with key a"),
        ({"a": 2, None: 3}, ("a",), Verdict.WARNING, "in plain text: 3 of 5"),
        ({"a": 2, "b": 1, None: 3}, ("a", "b"), Verdict.WARNING, "1 with key b, not the newest, which is a"),
        ({"a": 2, "b": 1, "c": 4}, ("a", "b"), Verdict.FAILED, "4 with key c, not in secrets_key_file"),
    ],
)
def test_check_tells_which_keys_are_in_use(
    in_use: dict[str | None, int], keys: tuple[str, ...], verdict: Verdict, words: str
) -> None:
    check = judged(in_use, keys)
    assert check.verdict is verdict
    assert words in check.detail
    assert bool(check.remedy) is (verdict is not Verdict.OK)
