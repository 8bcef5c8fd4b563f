"""``endpoint apply`` and ``endpoint export``: many endpoints from one file, all or nothing, and no secret twice."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import stat
import sys
import tomllib
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from cdc_bridge.endpoints.manifest import DECLARED
from cdc_bridge.endpoints.manifest_text import toml_value
from cdc_bridge.endpoints.option import Option
from cdc_bridge.endpoints.option_values import secret_key
from tests.support.bridge import Bridges, clean_environment
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.options import another_value
from tests.support.payloads import define_payload
from tests.support.receiver import Receiver

MANY = 10_000
URL = "https://till.example/reservations"
TOKEN = "an-unmistakable-token"
ROWS = "select e::text from cdc_bridge.endpoint e order by name"
FIRST, SECOND = ("whsec_" + b64encode(letter * 32).decode() for letter in (b"1", b"2"))
TWO = f"""
[defaults]
max_in_flight = 3

[endpoints.till]
url = "{URL}?key={TOKEN}"
headers = ["x-api-key: {TOKEN}"]
only = ["room_name=Bar,Terrace"]

[endpoints.kitchen]
url = "https://kitchen.example"
signed = false
max_in_flight = 16
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "endpoints.toml"
    write(made, TWO)
    return made


def write(file: Path, text: str) -> None:
    """Write a file that nobody else can read."""
    file.touch(0o600)
    file.chmod(0o600)
    file.write_text(text)


def let_everybody_read(file: Path) -> None:
    file.chmod(0o644)


def value(database: Database, column: str, name: str = "till") -> Any:
    return database.value(f'select "{column}" from cdc_bridge.endpoint where name = %s', (name,))


def names(database: Database) -> list[str]:
    return [name for (name,) in database.execute("select name from cdc_bridge.endpoint order by name")]


async def test_endpoints_are_added_once_and_changed_by_what_differs(
    database: Database, endpoint: EndpointCommands, file: Path
) -> None:
    told = await endpoint.run("apply", str(file), "--yes")
    assert (
        f'add till: {URL}?***, headers: ["x-api-key: ***"], max_in_flight: 3, only: ["room_name=Bar,Terrace"], '
        "signing secret: new, made here\n"
    ) in told
    assert "add kitchen: https://kitchen.example, unsigned\n" in told
    assert "To add: 2, to change: 0, to remove: 0, unchanged: 0." in told
    assert "cdc-bridge backfill NAME" in told
    secret = value(database, "secret")
    assert secret_key(secret)
    assert f"    till  {secret}" in told
    assert value(database, "secret", "kitchen") is None
    assert (value(database, "max_in_flight"), value(database, "max_in_flight", "kitchen")) == (3, 16)
    assert value(database, "headers") == [f"x-api-key: {TOKEN}"]
    before = database.execute(ROWS)

    again = await endpoint.run("apply", str(file))
    assert "unchanged: 2." in again
    assert "There is nothing to do." in again
    assert database.execute(ROWS) == before

    write(file, TWO.replace("max_in_flight = 3", "max_in_flight = 4").replace("x-api-key", "x-key"))
    changed = await endpoint.run("apply", str(file), "--yes")
    assert "change till: max_in_flight: 3 -> 4" in changed
    assert 'change till: headers: ["x-api-key: ***"] -> ["x-key: ***"]' in changed
    assert "to change: 1, to remove: 0, unchanged: 1." in changed
    assert (value(database, "max_in_flight"), value(database, "secret")) == (4, secret)
    assert endpoint.printed.count(secret) == 1
    assert TOKEN not in endpoint.printed


async def test_json_is_taken_from_standard_input_and_printed(database: Database, endpoint: EndpointCommands) -> None:
    manifest = {"endpoints": {"till": {"url": URL, "events": "created"}}}
    given = json.dumps(manifest).encode()
    applied = json.loads(await endpoint.run("apply", "-", "--yes", "--json", standard_input=given))
    options = {"url": URL, "events": "created"}
    secret = value(database, "secret")
    assert applied["added"] == [{"name": "till", "options": options, "signing_secret": "made", "secret": secret}]
    assert (applied["applied"], applied["unchanged"], applied["not_in_file"]) == (True, 0, 0)
    manifest["endpoints"]["till"] = {"url": URL}
    given = json.dumps(manifest).encode()
    shown = json.loads(await endpoint.run("apply", "-", "--dry-run", "--json", standard_input=given))
    assert shown["changed"] == [
        {"name": "till", "options": {"events": {"before": "created", "after": "both"}}, "signing_secret": "kept",
         "secret": None}
    ]  # fmt: skip
    assert (shown["applied"], value(database, "events")) == (False, "created")
    assert "are sent, or skipped, by the new options" in shown["consequences"][0]


async def test_nothing_is_done_unasked(database: Database, endpoint: EndpointCommands, file: Path) -> None:
    told = await endpoint.run("apply", str(file), code=2)
    assert "Nothing was done, as there is no terminal to ask on. To go ahead, add --yes." in told
    await endpoint.run("apply", "-", code=2, standard_input=TWO.encode())
    await endpoint.run("apply", str(file), "--json", code=2)
    await endpoint.run("apply", str(file), "--dry-run")
    assert names(database) == []


@pytest.mark.parametrize(("typed", "code", "added"), [(b"n\n", 1, 0), (b"y\n", 0, 2)])
async def test_it_asks_on_a_terminal(
    typed: bytes, code: int, added: int, database: Database, endpoint: EndpointCommands, file: Path
) -> None:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cdc_bridge", "endpoint", "apply", str(file), env=clean_environment(endpoint.settings),
        stdin=theirs, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, typed)
    output, _ = await process.communicate()
    os.close(ours)
    assert output.index(b"To add: 2") < output.index(b"Go ahead?")
    assert (process.returncode, len(names(database))) == (code, added)


async def test_every_fault_is_named_at_once_and_nothing_is_changed(
    database: Database, endpoint: EndpointCommands, file: Path, tmp_path: Path
) -> None:
    await endpoint.run("apply", str(file), "--yes")
    before = database.execute(ROWS)
    key = str(tmp_path / "key.pem")
    write(
        file,
        f"""\
        [defaults]
        timeout = 3
        [endpoints.till]
        url = "{URL}"
        only = ["room_nam=Bar"]
        [endpoints.kitchen]
        url = "https://elsewhere.example"
        max_in_flight = 0
        [endpoints.default]
        url = "{URL}"
        [endpoints.new]
        url = "{URL}"
        headers = ["x-a: ***"]
        only = ["adults=many"]
        [endpoints.bar]
        payload = "reservatio"
        client_key_file = "{key}"
    """,
    )
    told = await endpoint.refused("apply", str(file), "--yes", code=2)
    for fault in (
        "has 9 faults; nothing was changed",
        "line 2: defaults: timeout is not an option",
        'line 5: endpoints.till: only room_nam=Bar: the payload "reservation" has no column "room_nam"; did you mean',
        "line 8: endpoints.kitchen: max_in_flight should be greater than or equal to 1",
        "line 9: endpoints.default: NAME default belongs to the endpoint that a daemon's settings declare",
        "line 13: endpoints.new: headers has ***, and nothing is stored that it could stand for: x-a: ***; give",
        'line 14: endpoints.new: a condition (option only) does not fit: column "adults" of payload "reservation"',
        "line 15: endpoints.bar: url is missing",
        "line 16: endpoints.bar: payload reservatio: the mapping defines no such payload; did you mean reservation?",
        "line 17: endpoints.bar: client_key_file needs a client certificate file",
    ):
        assert fault in told
    assert database.execute(ROWS) == before


async def test_what_many_endpoints_have_wrong_is_said_once(endpoint: EndpointCommands, file: Path) -> None:
    tables = "".join(f'[endpoints.till-{number}]\nurl = "{URL}"\n' for number in range(200))
    write(file, f'[defaults]\nevents = "both"\npayload = "kitchen"\n{tables}')
    told = await endpoint.refused("apply", str(file), code=2)
    assert (
        "has 200 faults; nothing was changed line 3: endpoints.till-0, endpoints.till-1, endpoints.till-2 and" in told
    )
    assert told.count("the mapping defines no such payload") == 1
    write(file, tables.replace("url", "uri"))
    told = await endpoint.refused("apply", str(file), code=2)
    assert told.count("uri is not an option; did you mean url?") == told.count("url is missing") == 1
    write(file, re.sub(r"(?<=till-)(\d+)(.*)", r"\1\2\nx\1 = 1", tables))
    told = await endpoint.run("apply", str(file), code=2)
    assert [told.count(" is not an option"), told.splitlines()[-1].strip()] == [100, "and 100 more"]


async def test_file_from_another_system_is_read(database: Database, endpoint: EndpointCommands) -> None:
    data = b"\xef\xbb\xbf" + TWO.replace("\n", "\r\n").encode()
    await endpoint.run("apply", "-", "--yes", standard_input=data)
    assert names(database) == ["kitchen", "till"]
    assert "nothing to do" in await endpoint.run("apply", "-", standard_input=TWO.encode())


async def test_file_that_cannot_be_read(endpoint: EndpointCommands, tmp_path: Path) -> None:
    assert "No such file" in await endpoint.refused("apply", str(tmp_path / "none"), code=2)
    assert "Is a directory" in await endpoint.refused("apply", str(tmp_path), code=2)
    assert "/dev/zero is larger than 16 MiB" in await endpoint.refused("apply", "/dev/zero", code=2)
    assert "is not TOML" in await endpoint.refused("apply", "-", code=2, standard_input=b"till")
    for empty in (b"", b"\n # nothing\n", b"{}"):
        told = await endpoint.refused("apply", "-", "--prune", "9", "--yes", code=2, standard_input=empty)
        assert "there is no table endpoints.NAME" in told
    for other in (b"\xff", "[endpoints]".encode("utf-16")):
        told = await endpoint.refused("apply", "-", code=2, standard_input=other)
        assert "standard input is not UTF-8" in told


async def test_endpoints_that_are_not_in_the_file_stay_unless_they_are_pruned(
    database: Database, endpoint: EndpointCommands, bridges: Bridges, file: Path
) -> None:
    bridge = await bridges.start()
    await bridge.until_assigned()
    await endpoint.run("add", "old", URL, "--start", "oldest")
    await endpoint.run("pause", "old")
    database.execute("insert into customers (id) values ('C')")
    database.execute(
        "insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series(1, 3) n"
    )
    assert "not in the file and left alone: 1." in await endpoint.run("apply", str(file), "--yes")
    assert names(database) == ["default", "kitchen", "old", "till"]
    told = await endpoint.run("apply", str(file), "--prune", "1", "--dry-run")
    assert "remove old: queued or retrying deliveries: 0, changes not sent to it yet: 3; all of them are lost" in told
    assert "Nothing was done" in await endpoint.run("apply", str(file), "--prune", "1", code=2)
    told = await endpoint.refused("apply", str(file), "--prune", "0", "--yes", code=2)
    assert "--prune 0 allows fewer removals than the 1 that the file leads to: old" in told
    assert names(database) == ["default", "kitchen", "old", "till"]
    removed = json.loads(await endpoint.run("apply", str(file), "--prune", "1", "--yes", "--json"))
    assert removed["removed"] == [{"name": "old", "pending": 0, "backlog": 3}]
    assert names(database) == ["default", "kitchen", "till"]
    assert "There is nothing to do." in await endpoint.run("apply", str(file), "--prune", "0")
    assert "cannot be in a manifest" in await endpoint.refused("export", "default")
    assert tomllib.loads(await endpoint.run("export")).popitem()[1].keys() == {"kitchen", "till"}


async def test_more_removals_than_were_expected_are_refused(
    database: Database, endpoint: EndpointCommands, file: Path
) -> None:
    tables = [f'[endpoints.till-{number}]\nurl = "{URL}/{number}"\n' for number in range(5)]
    write(file, "".join(tables))
    await endpoint.run("apply", str(file), "--yes", "--prune", "0")
    write(file, tables[0])
    told = await endpoint.refused("apply", str(file), "--yes", "--prune", "3", code=2)
    assert (
        "--prune 3 allows fewer removals than the 4 that the file leads to: till-1, till-2, till-3 and 1 more" in told
    )
    assert "To remove all of them: --prune 4" in told
    assert len(names(database)) == 5
    assert "removed 4." in await endpoint.run("apply", str(file), "--yes", "--prune", "4")
    assert names(database) == ["till-0"]


async def test_new_name_is_a_new_endpoint_and_that_is_said(
    database: Database, endpoint: EndpointCommands, file: Path
) -> None:
    write(file, f'[endpoints.till]\nurl = "{URL}"')
    await endpoint.run("apply", str(file), "--yes")
    write(file, f'[endpoints.bar]\nurl = "{URL}"')
    told = await endpoint.run("apply", str(file), "--dry-run")
    assert "warning: till -> bar: the same url under another name is a new endpoint" in told
    assert "the old one gets its deliveries as well" in told
    told = await endpoint.run("apply", str(file), "--prune", "1", "--yes")
    assert "what is not delivered to the old one is lost" in told
    assert names(database) == ["bar"]


async def test_secrets_are_written_to_a_new_file_before_anything_is_committed(
    database: Database, endpoint: EndpointCommands, file: Path, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets.toml"
    nowhere = str(tmp_path / "nowhere" / "secrets.toml")
    assert "cannot be written" in await endpoint.refused("apply", str(file), "--yes", "--secrets-file", nowhere, code=2)
    assert names(database) == []
    told = await endpoint.run("apply", str(file), "--yes", "--secrets-file", str(secrets))
    assert f"{secrets} has their signing secrets" in told
    assert tomllib.loads(secrets.read_text()) == {"till": value(database, "secret")}
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert "nothing to do" in await endpoint.run("apply", str(file), "--yes", "--secrets-file", str(secrets))
    write(file, f'{TWO}\n[endpoints.bar]\nurl = "{URL}"')
    assert "is there already" in await endpoint.refused(
        "apply", str(file), "--yes", "--secrets-file", str(secrets), code=2
    )
    assert names(database) == ["kitchen", "till"]
    assert "whsec_" not in endpoint.printed


@pytest.mark.parametrize(
    ("statement", "words", "kept"),
    [
        ("raise 'no'", "a statement failed", False),
        ("perform pg_terminate_backend(pg_backend_pid())", "If it was done, the new secrets are in ", True),
    ],
)
async def test_file_of_secrets_stays_only_if_they_may_be_used(
    *,
    statement: str,
    words: str,
    kept: bool,
    database: Database,
    endpoint: EndpointCommands,
    file: Path,
    tmp_path: Path,
) -> None:
    database.execute(
        f"create function fail() returns trigger language plpgsql security definer as "
        f"$$ begin {statement}; return null; end $$; "
        "create constraint trigger fail after insert on cdc_bridge.endpoint initially deferred "
        "for each row execute function fail()"
    )
    secrets = tmp_path / "secrets.toml"
    told = await endpoint.run("apply", str(file), "--yes", "--secrets-file", str(secrets), code=1)
    assert words in told
    assert (secrets.exists(), names(database)) == (kept, [])
    assert "whsec_" not in told
    without = await endpoint.run("apply", str(file), "--yes", code=1)
    assert ("the new secrets are lost" in without) is kept


async def test_secret_of_the_vendor_comes_from_a_file(
    database: Database, endpoint: EndpointCommands, file: Path, tmp_path: Path
) -> None:
    secret_file = tmp_path / "secret"
    write(secret_file, f"{FIRST}\n")
    let_everybody_read(secret_file)
    write(file, f'[endpoints.till]\nurl = "{URL}"\nsecret_file = "secret"')  # beside the manifest
    assert f"every user of this machine can read {secret_file}" in await endpoint.run("apply", str(file), "--yes")
    assert value(database, "secret") == FIRST
    write(secret_file, FIRST)
    assert "nothing to do" in await endpoint.run("apply", str(file))
    write(secret_file, SECOND)
    assert "the previous one signs as well for 24 hours" in await endpoint.run("apply", str(file), "--yes")
    assert (value(database, "secret"), value(database, "previous_secret")) == (SECOND, FIRST)
    write(secret_file, FIRST)
    assert "a rotation is in progress" in " ".join(
        (await endpoint.refused("apply", str(file), "--yes", code=2)).split()
    )
    write(file, f'[endpoints.till]\nurl = "{URL}"\nsigned = false')
    assert "change till: signing secret: removed" in await endpoint.run("apply", str(file), "--yes")
    assert (value(database, "secret"), value(database, "previous_secret")) == (None, None)
    write(secret_file, TOKEN)
    write(file, f'[endpoints.till]\nurl = "{URL}"\nsecret_file = "{secret_file}"')
    told = await endpoint.refused("apply", str(file), "--yes", code=2)
    assert "endpoints.till: secret_file has to begin with whsec_" in told
    for secret in (FIRST, SECOND, TOKEN):
        assert secret not in endpoint.printed


async def test_readable_file_with_secrets_is_warned_of(endpoint: EndpointCommands, file: Path) -> None:
    let_everybody_read(file)
    assert f"chmod o-r {file}" in await endpoint.run("apply", str(file), "--dry-run")
    write(file, f'[endpoints.till]\nurl = "{URL}"')
    assert "chmod" not in await endpoint.run("apply", str(file), "--dry-run")


async def test_headers_and_secret_stay_with_their_server(
    database: Database, endpoint: EndpointCommands, file: Path
) -> None:
    await endpoint.run("apply", str(file), "--yes")
    secret = value(database, "secret")
    moved = '[endpoints.till]\nurl = "https://other.example"\nheaders = ["x-api-key: ***"]\n'
    write(file, moved)
    told = await endpoint.refused("apply", str(file), "--yes", code=2)
    assert (
        "line 2: endpoints.till: url leads to another server, and headers and signing secret of the one before" in told
    )
    assert "--keep-headers" in told
    assert value(database, "url") == f"{URL}?key={TOKEN}"
    told = await endpoint.run("apply", str(file), "--yes", "--keep-headers")
    assert "change till: headers and signing secret: kept, for the other server as well" in told
    assert (value(database, "url"), value(database, "secret")) == ("https://other.example", secret)
    assert value(database, "headers") == [f"x-api-key: {TOKEN}"]
    write(file, '[endpoints.till]\nurl = "https://third.example"\n')
    told = await endpoint.run("apply", str(file), "--yes", "--new-secrets")
    assert value(database, "secret") != secret
    assert value(database, "secret") in told
    assert (value(database, "headers"), value(database, "previous_secret")) == ([], None)


async def test_what_a_change_means_is_said_once_for_all(
    database: Database, endpoint: EndpointCommands, file: Path
) -> None:
    define_payload(database, "select r.id from {reservation} r", "kitchen")
    tables = "".join(f'[endpoints.till-{number}]\nurl = "{URL}"\n' for number in range(5))
    write(file, tables)
    await endpoint.run("apply", str(file), "--yes")
    write(file, f'[defaults]\npayload = "kitchen"\nonly = ["id=R"]\n{tables}')
    told = await endpoint.run("apply", str(file), "--dry-run")
    assert "till-0, till-1, till-2 and 2 more: Changes that are not delivered yet are sent, or skipped" in told
    assert told.count("cdc-bridge backfill NAME --again") == 1
    await endpoint.run("apply", str(file), "--yes")
    write(file, f'[defaults]\nonly = ["status=X"]\n{tables}')
    told = await endpoint.run("apply", str(file), "--yes")
    assert "warning: till-0, till-1, till-2 and 2 more: only status: when status changes" in told


@pytest.mark.parametrize("option", DECLARED.values(), ids=lambda option: option.name)
@pytest.mark.parametrize("form", ["TOML", "JSON"])
async def test_what_is_exported_and_applied_changes_nothing(
    option: Option, form: str, database: Database, endpoint: EndpointCommands
) -> None:
    define_payload(database, "select r.id from {reservation} r", "kitchen")
    given = {"url": URL, option.name: another_value(option)}
    if option.name == "client_key_file":
        given["client_certificate_file"] = "/another/client.pem"
    file = "".join(["[endpoints.till]\n", *(f"{name} = {toml_value(each)}\n" for name, each in given.items())])
    await endpoint.run("apply", "-", "--yes", standard_input=file.encode())
    assert value(database, option.name) == given[option.name]
    before = database.execute(ROWS)
    exported = await endpoint.run("export", *(["--json"] if form == "JSON" else []))
    told = await endpoint.run("apply", "-", "--yes", "--prune", "0", standard_input=exported.encode())
    assert "There is nothing to do." in told
    assert database.execute(ROWS) == before


async def test_export_has_no_secret_and_is_taken_back(
    database: Database, endpoint: EndpointCommands, file: Path
) -> None:
    write(file, f'{TWO}\nproxy = "http://user:{TOKEN}@proxy.example:3128"')
    await endpoint.run("apply", str(file), "--yes")
    secret, before = value(database, "secret"), database.execute(ROWS)
    exported = await endpoint.run("export")
    assert tomllib.loads(exported)["endpoints"] == {
        "kitchen": {"url": "https://kitchen.example", "proxy": "http://***@proxy.example:3128", "signed": False},
        "till": {
            "url": f"{URL}?***", "headers": ["x-api-key: ***"], "max_in_flight": 3, "only": ["room_name=Bar,Terrace"]
        },
    }  # fmt: skip
    await endpoint.run("apply", "-", "--yes", standard_input=exported.encode())
    assert database.execute(ROWS) == before
    assert tomllib.loads(await endpoint.run("export", "kitchen"))["endpoints"].keys() == {"kitchen"}
    assert "did you mean till?" in await endpoint.refused("export", "tll")
    assert TOKEN not in endpoint.printed
    assert endpoint.printed.count(secret) == 1


async def test_endpoint_that_is_applied_gets_its_deliveries(
    database: Database, bridges: Bridges, receiver: Receiver, endpoint: EndpointCommands, certificates: Certificates
) -> None:
    for name in [name for name in bridges.settings if name.startswith("CDC_BRIDGE_ENDPOINT_")]:
        del bridges.settings[name]
    bridge = await bridges.start()
    manifest = f'[endpoints.till]\nurl = "{receiver.url}"\nca_file = "{certificates.ca_file}"'
    await endpoint.run("apply", "-", "--yes", standard_input=manifest.encode())
    await bridge.until_assigned("till")
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    await receiver.wait_for_delivered(1)


@pytest.mark.slow
async def test_ten_thousand_endpoints(database: Database, endpoint: EndpointCommands, tmp_path: Path) -> None:
    def manifest(max_in_flight: int) -> str:
        return f"[defaults]\nmax_in_flight = {max_in_flight}\n" + "".join(
            f'[endpoints.till-{number:05}]\nurl = "https://till-{number}.example/reservations"\n'
            f'headers = ["x-api-key: {TOKEN}-{number}"]\nonly = ["room_id={number}"]\n'
            for number in range(MANY)
        )

    file, secrets = tmp_path / "many.toml", tmp_path / "secrets.toml"
    write(file, manifest(3))
    await endpoint.run("apply", str(file), "--yes", "--secrets-file", str(secrets), "--json")
    assert len(set(tomllib.loads(secrets.read_text()).values())) == MANY
    assert database.value("select count(*) from cdc_bridge.endpoint where max_in_flight = 3") == MANY
    before = database.execute(ROWS)
    told = await endpoint.run("apply", str(file), "--yes")
    assert re.search(r"unchanged: 10,000\.\s+There is nothing to do\.", told)
    write(file, await endpoint.run("export"))
    assert "There is nothing to do." in await endpoint.run("apply", str(file))
    assert database.execute(ROWS) == before
    write(file, manifest(4))
    told = await endpoint.run("apply", str(file), "--yes")
    assert "Added 0, changed 10,000, removed 0." in told
    assert database.value("select count(*) from cdc_bridge.endpoint where max_in_flight = 4") == MANY
    told = await endpoint.run("apply", "-", "--prune", str(MANY), "--yes", standard_input=b"[endpoints]")
    assert "removed 10,000." in told
    assert names(database) == []
    assert TOKEN not in endpoint.printed
    assert "whsec_" not in endpoint.printed
