"""What docker-compose.yml says is so: its settings, its files, and the programs that it runs, run without an engine."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from psycopg.conninfo import conninfo_to_dict
from yarl import URL

from cdc_bridge.demo.ports import free_port
from cdc_bridge.guides import Guide, guide_text
from cdc_bridge.schema.sql_text import sql_folder
from cdc_bridge.settings import PREFIX, Settings
from tests.support import compose_file
from tests.support.bridge import SECRET, Bridges, clean_environment
from tests.support.commands import RunningCommand
from tests.support.databases import Database, install_bridge
from tests.support.image import DOCKERFILE, health_check, instructions
from tests.support.waiting import until

PROJECT = Path(__file__).parents[3]
TEXT = (PROJECT / "docker-compose.yml").read_text(encoding="utf-8")
FILE: Final[Mapping[str, Any]] = compose_file.read(TEXT)
SERVICES: Final[Mapping[str, Mapping[str, Any]]] = FILE["services"]
BRIDGE, RECEIVER, IDENTITY = (SERVICES[name] for name in ("bridge", "receiver", "identity"))
PORT, KEPT = (RECEIVER["command"][RECEIVER["command"].index(option) + 1] for option in ("--port", "--keep"))
(USER,) = instructions("USER")
STARTED = "service_healthy", "service_completed_successfully"

UNDERSTOOD_BY_1_29 = {
    "build", "command", "depends_on", "entrypoint", "environment", "healthcheck", "hostname", "image", "ports",
    "read_only", "restart", "stop_grace_period", "tmpfs", "user", "volumes",
}  # fmt: skip

MOUNTS = [(name, *mount.split(":")) for name, service in SERVICES.items() for mount in service.get("volumes", ())]
FOLDERS = [mount for mount in MOUNTS if mount[1].startswith(".")]
VOLUMES = [mount for mount in MOUNTS if not mount[1].startswith(".")]


def test_it_keeps_to_what_docker_compose_1_29_and_2_both_understand() -> None:
    assert set(FILE) == {"services", "volumes"}
    assert {key for service in SERVICES.values() for key in service} <= UNDERSTOOD_BY_1_29
    assert set(re.findall(r"(?<!\$)\$[^$].*?[:}]", TEXT)) == {"${POSTGRES_PORT:"}


def test_it_needs_no_image_but_an_official_one_and_ours() -> None:
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert set(images.values()) == {"postgres:17", "cdc-bridge"}
    assert {name for name, service in SERVICES.items() if "build" in service} == {
        name for name, image in images.items() if image == "cdc-bridge"
    }


def test_names_of_settings_are_those_of_settings() -> None:
    named = set(re.findall(rf"{PREFIX}[A-Z_]+", TEXT))
    assert named <= {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert f"{PREFIX}DATABASE_URL" in BRIDGE["environment"]


def test_what_is_mounted_from_here_is_here_and_cannot_be_written_to() -> None:
    assert [source for _, source, *_ in FOLDERS if not (PROJECT / source).exists()] == []
    assert {mode for *_, mode in FOLDERS} == {"ro"}


def test_volumes_are_declared_and_written_by_the_services_that_fill_them() -> None:
    assert {source for _, source, *_ in VOLUMES} == set(FILE["volumes"])
    assert {(name, source) for name, source, _, *mode in VOLUMES if not mode} == {
        ("postgres", "database"),
        ("identity", "kept"),
        ("receiver", "kept"),
    }


def test_nothing_is_left_behind_in_a_volume_without_a_name() -> None:
    folder = "/var/lib/postgresql/data"  # for which that image makes one
    named = {name for name, _, target, *_ in VOLUMES if target == folder}
    in_memory = {name for name, service in SERVICES.items() if service.get("tmpfs") == folder}
    assert named | in_memory == {name for name, service in SERVICES.items() if service["image"] == "postgres:17"}


def test_every_service_has_a_health_check_or_ends_before_others_begin() -> None:
    waited_for = {
        (name, how["condition"]) for service in SERVICES.values() for name, how in service.get("depends_on", {}).items()
    }
    healthy, completed = STARTED
    assert {name for name, condition in waited_for if condition == healthy} <= {
        name for name, service in SERVICES.items() if "healthcheck" in service
    }
    assert {name for name, condition in waited_for if condition == completed} == {
        name for name, service in SERVICES.items() if "healthcheck" not in service and service is not BRIDGE
    }


def test_no_port_is_open_to_other_machines() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports == ["127.0.0.1:${POSTGRES_PORT:-5432}:5432"]


def test_bridge_finds_the_database_by_the_password_that_is_set() -> None:
    postgres, install = SERVICES["postgres"]["environment"], SERVICES["install"]
    way_in = conninfo_to_dict(BRIDGE["environment"]["CDC_BRIDGE_DATABASE_URL"])
    assert way_in == {
        "host": "postgres",
        "dbname": postgres["POSTGRES_DB"],
        "user": "cdc_bridge",
        "password": "cdc_bridge",
    }
    assert "--command=alter role cdc_bridge password 'cdc_bridge'" in install["command"]
    assert install["environment"] == {
        "PGHOST": "postgres",
        "PGDATABASE": postgres["POSTGRES_DB"],
        "PGUSER": "postgres",
        "PGPASSWORD": postgres["POSTGRES_PASSWORD"],
    }
    (script,) = (word.removeprefix("--file=/sql/") for word in install["command"] if word.startswith("--file="))
    assert (sql_folder() / script).exists()


def test_bridge_finds_the_receiver_and_signs_with_its_secret() -> None:
    url = URL(BRIDGE["environment"]["CDC_BRIDGE_ENDPOINT_URL"])
    assert (url.scheme, url.host, str(url.port)) == ("https", RECEIVER["hostname"], PORT)
    assert BRIDGE["environment"]["CDC_BRIDGE_ENDPOINT_SECRET"] == IDENTITY["environment"]["RECEIVER_SECRET"]


def test_bridge_is_given_the_time_that_it_takes_to_end() -> None:
    assert (
        int(BRIDGE["stop_grace_period"].removesuffix("s")) > Settings.model_fields["shutdown_timeout_seconds"].default
    )


def test_receiver_gets_a_folder_that_is_its_own() -> None:
    """``receive --keep`` uses no folder that somebody else owns, and a new volume is root's."""
    assert IDENTITY["user"] == "root"
    assert f"chown -R {USER} {KEPT}" in IDENTITY["entrypoint"][-1]
    assert "user" not in RECEIVER


def test_built_services_have_the_image_that_is_shipped() -> None:
    for service in (IDENTITY, BRIDGE, RECEIVER):
        assert PROJECT / service["build"]["context"] / service["build"]["dockerfile"] == DOCKERFILE
        assert set(service["build"]["args"]) == set(instructions("ARG"))
    assert BRIDGE.keys().isdisjoint({"command", "healthcheck", "user"})  # They are the image's.


class Here:
    """Stands on this machine for what the file's words name inside the containers."""

    def __init__(self, kept: Path) -> None:
        self._web_port = free_port()
        self._stand_ins = {
            KEPT: str(kept),
            USER: f"{os.getuid()}:{os.getgid()}",
            "//receiver:": "//localhost:",
            "0.0.0.0": "127.0.0.1",
            PORT: str(free_port()),
            'server_hostname="receiver"': f'server_hostname="{socket.gethostname()}"',
            "$$": "$",
        }

    def words(self, *words: str) -> list[str]:
        anything = re.compile("|".join(map(re.escape, self._stand_ins)))
        return [anything.sub(lambda found: self._stand_ins[found[0]], word) for word in words]

    def environment(self, service: Mapping[str, Any]) -> dict[str, str]:
        given = dict(zip(service["environment"], self.words(*service["environment"].values()), strict=True))
        return given | {"CDC_BRIDGE_WEB_PORT": str(self._web_port)}

    def healthy(self, service: Mapping[str, Any]) -> bool:
        kind, *words = service["healthcheck"]["test"] if "healthcheck" in service else health_check()
        assert kind == "CMD"
        path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        environment = os.environ | path | {"CDC_BRIDGE_WEB_PORT": str(self._web_port)}
        return subprocess.run(self.words(*words), env=environment, capture_output=True, check=False).returncode == 0


@pytest.fixture
def here(tmp_path: Path) -> Here:
    """Where the service ``identity`` has run, as with every start."""
    kept = tmp_path / "kept"
    kept.mkdir()
    here = Here(kept)
    for _ in range(2):
        subprocess.run(
            here.words(*IDENTITY["entrypoint"]), env=os.environ | IDENTITY["environment"], check=True, timeout=60
        )
    assert (kept / "secret").read_text() == f"{BRIDGE['environment']['CDC_BRIDGE_ENDPOINT_SECRET']}\n"
    return here


@pytest.fixture
async def receiver(here: Here) -> AsyncIterator[RunningCommand]:
    """The receiver's program, as the file runs it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cdc_bridge", *here.words(*RECEIVER["command"]), env=clean_environment({}),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    command = RunningCommand(process)
    yield command
    await command.close()


@pytest.fixture
def eres(example_database: Database) -> Database:
    """The database as the services ``postgres`` and ``install`` make it."""
    example_database.execute((sql_folder() / "example" / "data.sql").read_text())
    install_bridge(example_database)
    return example_database


def test_what_is_not_there_is_not_healthy(here: Here) -> None:
    assert not here.healthy(RECEIVER)
    assert not here.healthy(BRIDGE)


async def test_change_that_the_file_proposes_is_seen_in_the_receivers_log(
    eres: Database, receiver: RunningCommand, here: Here
) -> None:
    await until(lambda: here.healthy(RECEIVER), "the receiver is healthy")
    bridges = Bridges(here.environment(BRIDGE) | {"CDC_BRIDGE_DATABASE_URL": eres.bridge_url}, eres)
    try:
        await bridges.start()
        await until(lambda: here.healthy(BRIDGE), "the bridge is healthy")
        (change,) = re.findall(r'psql -U postgres eres -c "(.+)"', TEXT)
        eres.execute(change)
        await receiver.wait_for('  "reference": 920,')
    finally:
        await bridges.close()
    assert re.findall(r" (\d+|no response) (reservation\.\w+) .*: (.*)\n", receiver.words) == [
        ("204", "reservation.updated", "signature valid")
    ]


async def test_request_that_is_not_signed_with_the_secret_is_rejected(
    eres: Database, receiver: RunningCommand, here: Here
) -> None:
    await until(lambda: here.healthy(RECEIVER), "the receiver is healthy")
    bridges = Bridges(
        here.environment(BRIDGE) | {"CDC_BRIDGE_DATABASE_URL": eres.bridge_url, "CDC_BRIDGE_ENDPOINT_SECRET": SECRET},
        eres,
    )
    try:
        await bridges.start()
        eres.execute("update reservations set adults = adults + 1 where reference = 920")
        await receiver.wait_for(" 401 ")
    finally:
        await bridges.close()
    assert "schema" not in receiver.words


def test_commands_at_its_top_are_those_of_the_operator_guide() -> None:
    guide = guide_text(Guide.OPERATOR)
    commands = re.findall(r"^#   (docker .+)$", TEXT, flags=re.MULTILINE)
    assert len(commands) == 4
    assert [command for command in commands if f"    {command}\n" not in guide] == []


@pytest.mark.parametrize(
    "text",
    [
        "a: &anchor b",
        "a: {b: c}",
        "a: |",
        "a: 'b'",
        "a: yes",
        "a: 22:22",
        "a: b: c",
        "a: b\na: c",
        "a: b\n  c",
        "- a\n  b: c",
        "a:\n    b: c\n  d: e",
    ],
)
def test_file_with_more_yaml_than_is_understood_is_not_read_wrongly(text: str) -> None:
    with pytest.raises(ValueError, match=r"understood|Expecting"):
        compose_file.read(text)
