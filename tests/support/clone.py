"""A clone of this repository that a test may change, build and release."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.launcher import PROJECT


class Clone:
    """A repository of its own, with one commit: the files as they are here, and nothing that was built."""

    def __init__(self, folder: Path) -> None:
        """Make it in a folder that is empty."""
        self.folder = folder
        files = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
        for name in files.splitlines():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
        self.git("init", "--quiet")
        self.git("config", "user.name", "A Tester")
        self.git("config", "user.email", "tester@example.com")
        self.commit()

    def git(self, *arguments: str) -> str:
        ran = subprocess.run(["git", *arguments], cwd=self.folder, capture_output=True, text=True, check=True)
        return ran.stdout

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "A commit")
