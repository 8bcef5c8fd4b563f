"""The example for Kubernetes names what there is, and a daemon with its settings is alive by its probes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from cdc_bridge import __version__
from cdc_bridge.demo.ports import free_port
from cdc_bridge.settings import PREFIX, Settings
from cdc_bridge.settings_sources import CREDENTIALS_VARIABLE
from tests.support.bridge import SECRET, Bridges
from tests.support.databases import Database
from tests.support.http import get
from tests.support.image import PROJECT, instructions
from tests.support.receiver import Receiver

FILE = PROJECT / "cdc_bridge" / "packaging" / "kubernetes.yml"
TEXT = FILE.read_text(encoding="utf-8")
KUBECTL = shutil.which("kubectl")
OBJECTS: Final[Mapping[str, Any]] = {found["kind"]: found for found in yaml.safe_load_all(TEXT)}
DEPLOYMENT, SERVICE, BUDGET = (OBJECTS[kind] for kind in ("Deployment", "Service", "PodDisruptionBudget"))
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
ENVIRONMENT = {each["name"]: each["value"] for each in CONTAINER["env"]}
PROBES = {name: CONTAINER[name] for name in ("livenessProbe", "readinessProbe")}
KEYS = re.findall(r"--from-literal=(\w+)=", TEXT)
TOKEN = "a token of the tests, long enough"


def test_settings_in_it_exist() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    named = set(re.findall(rf"{PREFIX}[A-Z_]+", TEXT)) - {f"{PREFIX}PORT"}
    assert named <= known
    assert set(ENVIRONMENT) - {CREDENTIALS_VARIABLE} <= known
    assert {key.upper() for key in re.findall(r"\bcdc_bridge_[a-z_]+", TEXT)} <= known
    assert all(isinstance(value, str) for value in ENVIRONMENT.values())


def test_environment_has_no_secret_and_nothing_that_kubernetes_adds() -> None:
    assert POD["enableServiceLinks"] is False  # Else CDC_BRIDGE_PORT, which is no setting, would end the daemon.
    assert {"cdc_bridge_database_url", "cdc_bridge_endpoint_secret", "cdc_bridge_web_token"} == set(KEYS)
    assert {key.upper() for key in KEYS}.isdisjoint(ENVIRONMENT)


def test_secret_is_mounted_where_the_daemon_looks_and_read_by_its_group_alone() -> None:
    (mount,), (volume,) = CONTAINER["volumeMounts"], POD["volumes"]
    assert mount["name"] == volume["name"]
    assert mount["mountPath"] == ENVIRONMENT[CREDENTIALS_VARIABLE]
    assert volume["secret"]["defaultMode"] == 0o440
    assert f"create secret generic {volume['secret']['secretName']} " in TEXT


def test_pods_run_as_the_user_of_the_image_with_no_rights() -> None:
    (user,) = instructions("USER")
    said = POD["securityContext"]
    assert f"{said['runAsUser']}:{said['runAsGroup']}" == f"{said['fsGroup']}:{said['fsGroup']}" == user
    assert said["runAsNonRoot"] is True
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_two_daemons_are_found_by_service_and_budget_and_stopped_one_at_a_time() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert DEPLOYMENT["spec"]["replicas"] == 2
    for selector in (DEPLOYMENT["spec"]["selector"]["matchLabels"], SERVICE["spec"]["selector"]):
        assert selector == labels
    assert BUDGET["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    assert [spread["labelSelector"]["matchLabels"] for spread in POD["topologySpreadConstraints"]] == [labels]


def test_daemon_is_given_the_time_that_it_takes_to_end() -> None:
    assert POD["terminationGracePeriodSeconds"] > Settings.model_fields["shutdown_timeout_seconds"].default


def test_ports_are_one_port() -> None:
    (port,), (served,) = CONTAINER["ports"], SERVICE["spec"]["ports"]
    assert str(port["containerPort"]) == ENVIRONMENT["CDC_BRIDGE_WEB_PORT"]
    assert {probe["httpGet"]["port"] for probe in PROBES.values()} | {served["targetPort"]} == {port["name"]}


def test_image_has_the_version_of_the_code() -> None:
    assert CONTAINER["image"].endswith(f":{__version__}")


@pytest.fixture
def credentials(tmp_path: Path, database: Database) -> Path:
    """The secret, as Kubernetes mounts it: each key a link into a folder that is replaced with the next version."""
    values = {
        "cdc_bridge_database_url": database.bridge_url,
        "cdc_bridge_endpoint_secret": SECRET,
        "cdc_bridge_web_token": TOKEN,
    }
    assert list(values) == KEYS
    folder = tmp_path / "credentials"
    version = folder / "..2026_12_01"
    version.mkdir(parents=True)
    (folder / "..data").symlink_to(version.name)
    for key, value in values.items():
        (version / key).write_text(value)
        (version / key).chmod(0o400)
        (folder / key).symlink_to(Path("..data", key))
    return folder


async def test_daemon_with_these_settings_delivers_and_is_alive_by_the_probes(
    database: Database, receiver: Receiver, credentials: Path, bridge_settings: dict[str, str]
) -> None:
    port = free_port()
    settings = ENVIRONMENT | {
        CREDENTIALS_VARIABLE: str(credentials),
        "CDC_BRIDGE_ENDPOINT_URL": receiver.url,
        "CDC_BRIDGE_ENDPOINT_CA_FILE": bridge_settings["CDC_BRIDGE_ENDPOINT_CA_FILE"],
        "CDC_BRIDGE_WEB_ADDRESS": "127.0.0.1",
        "CDC_BRIDGE_WEB_PORT": str(port),
    }
    bridges = Bridges(settings, database)
    try:
        bridge = await bridges.start()
        database.execute("insert into customers (id) values ('C')")
        database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
        await receiver.wait_for_delivered(1)
        for probe in PROBES.values():
            assert await get(port, probe["httpGet"]["path"]) == (200, "alive\n")
        assert (await get(port, "/readyz"))[0] == 401
        assert await get(port, "/readyz", authorization=f"Bearer {TOKEN}") == (200, "ready\n")
        assert [line for line in bridge.output if "warning" in line] == []
    finally:
        await bridges.close()


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not here")
def test_kubectl_reads_the_same_objects(tmp_path: Path) -> None:
    shutil.copy(FILE, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{FILE.name}]\n")
    ran = subprocess.run([str(KUBECTL), "kustomize", tmp_path], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert {found["kind"]: found for found in yaml.safe_load_all(ran.stdout)} == OBJECTS
