"""The soak test runs, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.bridge import clean_environment


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the soak test runs on Linux only")
def test_short_soak_passes_and_leaves_nothing_but_its_report(tmp_path: Path) -> None:
    results = tmp_path / "results"
    with TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)  # PostgreSQL, which is not root, has to get through
        run = subprocess.run(
            [sys.executable, "-m", "tests.soak", "--minutes", "0.3", "--endpoints", "5", "--folder", results],
            env=clean_environment({"TMPDIR": temporary}), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout + run.stderr
        assert list(Path(temporary).iterdir()) == []
    assert run.stdout.splitlines()[-1].startswith("PASSED")
    assert {file.name for file in results.iterdir()} == {"report.txt", "daemon-0.log", "daemon-1.log"}
