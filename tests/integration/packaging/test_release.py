"""``make release``, rehearsed in a clone that is thrown away: it tags what it has looked at, or nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from cdc_bridge import __version__
from tests.support.clone import Clone
from tests.support.release import SUMS, TAG

HEADING = f"## {__version__} - 2026-12-01"


def head_changelog(clone: Clone, heading: str, text: str = "- Something new.") -> None:
    changelog = clone.folder / "CHANGELOG.md"
    before, _ = changelog.read_text().split("\n## ", maxsplit=1)
    changelog.write_text(f"{before}\n{heading}\n\n{text}\n\n## 0.0.1 - 2026-01-01\n\n- Something old.\n")


def release(clone: Clone) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.release"],
        cwd=clone.folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    (tmp_path / "clone").mkdir()
    return Clone(tmp_path / "clone")


def test_release_is_tagged_with_its_notes_and_its_artefacts_are_there(clone: Clone) -> None:
    head_changelog(clone, HEADING, "### Delivery\n\n- Something new.")
    clone.commit()
    ran = release(clone)
    assert (ran.returncode, ran.stderr) == (0, "")
    notes = clone.git("tag", "--list", "--format=%(contents)", TAG)
    assert notes.rstrip() == f"cdc-bridge {__version__}\n\n### Delivery\n\n- Something new."
    assert clone.git("rev-parse", f"{TAG}^{{commit}}") == clone.git("rev-parse", "HEAD")
    dist = clone.folder / "dist"
    sums = {name: sum_ for sum_, name in re.findall(r"^(\w+)  (.*)$", (dist / SUMS).read_text(), flags=re.MULTILINE)}
    assert sums == {
        name: sha256((dist / name).read_bytes()).hexdigest()
        for name in (f"cdc_bridge-{__version__}-py3-none-any.whl", f"cdc_bridge-{__version__}.tar.gz")
    }
    assert clone.git("status", "--porcelain") == ""
    assert f"git push origin {TAG}" in ran.stdout

    again = release(clone)
    assert again.returncode == 1
    assert f"Not released: {TAG} is tagged already" in again.stderr


def test_same_commit_is_the_same_bytes(clone: Clone) -> None:
    head_changelog(clone, HEADING)
    clone.commit()
    release(clone)
    first = (clone.folder / "dist" / SUMS).read_text()
    clone.git("tag", "--delete", TAG)
    release(clone)
    assert (clone.folder / "dist" / SUMS).read_text() == first


@pytest.mark.parametrize(
    ("heading", "text", "words"),
    [
        ("## Unreleased", "- Something new.", f'Its first heading has to be "## {__version__} - YYYY-MM-DD"'),
        ("## 99.0.0 - 2026-12-01", "- Something new.", f"but the code has version {__version__}"),
        (HEADING, "", f"CHANGELOG.md says nothing about {__version__}"),
    ],
)
def test_changelog_without_this_version_is_not_released(heading: str, text: str, words: str, clone: Clone) -> None:
    head_changelog(clone, heading, text)
    clone.commit()
    assert_not_released(clone, words)


def test_tree_with_changes_is_not_released(clone: Clone) -> None:
    head_changelog(clone, HEADING)
    assert_not_released(clone, "there are changes that are not committed:\n M CHANGELOG.md")


def test_artefact_that_lacks_a_file_is_not_released(clone: Clone) -> None:
    head_changelog(clone, HEADING)
    project = clone.folder / "pyproject.toml"
    text = project.read_text()
    lacking, changed = re.subn(r"(targets\.wheel\]\n)", r'\1exclude = ["cdc_bridge/vendor/guide.md"]\n', text)
    assert changed == 1
    project.write_text(lacking)
    clone.commit()
    assert_not_released(clone, "-py3-none-any.whl has not the cdc_bridge/vendor/guide.md of the repository")


def test_generated_files_are_made_anew_before_the_tree_is_looked_at(clone: Clone) -> None:
    ran = subprocess.run(["make", "--dry-run", "release"], cwd=clone.folder, capture_output=True, text=True, check=True)
    modules = re.findall(r"-m (tests\.support\.\w+)$", ran.stdout, flags=re.MULTILINE)
    assert modules == ["tests.support.man_page", "tests.support.guide_tables", "tests.support.release"]


def assert_not_released(clone: Clone, words: str) -> None:
    ran = release(clone)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "Not released: " in ran.stderr
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr
    assert clone.git("tag") == ""
