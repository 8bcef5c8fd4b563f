from __future__ import annotations

import ast
import os
import re
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cdc_bridge
from cdc_bridge.own_files import create_own, others_read, own_folder, read_own, write_own

PACKAGE = Path(cdc_bridge.__file__).parent
OTHERWISE = {
    "cli/contract.py": {"open", "mkdir"},  # mode x follows no link, and the files are public
    "packaging/service_files.py": {"mkdir", "chmod"},  # folders below /etc, by root
    "demo/environment.py": {"open"},  # a log in a temporary folder of its own
    "demo/throwaway_postgres.py": {"open", "mkdir", "chmod"},  # likewise
}
"""Modules that write files in their own way, and why they may."""
MODES = {"w", "wb", "a", "ab", "x", "xb", "r+", "r+b"}
WAYS = {"write_text", "write_bytes", "mkdir", "touch", "chmod", "open", "makedirs", "write_to_path"}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_file_is_for_its_owner_only_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        own_folder(tmp_path / "a" / "b")
        write_own(tmp_path / "a" / "b" / "file", b"1")
        write_own(tmp_path / "a" / "b" / "public", b"1", 0o644)
    finally:
        os.umask(before)
    assert mode(tmp_path / "a" / "b") & 0o077 == 0
    assert (mode(tmp_path / "a" / "b" / "file"), mode(tmp_path / "a" / "b" / "public")) == (0o600, 0o644)


def test_file_is_replaced_with_a_new_mode_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    file.chmod(0o666)
    write_own(file, b"new")
    assert (file.read_bytes(), mode(file)) == (b"new", 0o600)
    assert list(tmp_path.iterdir()) == [file]


def test_hard_link_is_not_written_through(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (tmp_path / "file").hardlink_to(precious)
    write_own(tmp_path / "file", b"new")
    assert precious.read_bytes() == b"precious"


@pytest.mark.parametrize("there", [True, False])
def test_symbolic_link_is_neither_written_nor_read(tmp_path: Path, *, there: bool) -> None:
    precious, link = tmp_path / "precious", tmp_path / "link"
    if there:
        precious.write_bytes(b"precious")
    link.symlink_to(precious)
    for use in (lambda: write_own(link, b"new"), lambda: read_own(link)):
        with pytest.raises(OSError, match="symbolic link"):
            use()
    assert link.is_symlink()
    assert precious.exists() == there
    assert not there or precious.read_bytes() == b"precious"


def test_pipe_is_neither_written_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for use in (lambda: write_own(tmp_path / "pipe", b"new"), lambda: read_own(tmp_path / "pipe")):
        with pytest.raises(OSError, match="not a regular file"):
            use()


@pytest.mark.parametrize("open_to", [0o020, 0o002])
def test_folder_that_others_may_write_to_is_not_used(tmp_path: Path, open_to: int) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o700 | open_to)
    with pytest.raises(OSError, match="others may write"):
        own_folder(folder)


def test_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_folder(tmp_path / "folder")
    own_folder(tmp_path / "folder")
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(OSError, match="somebody else"):
        own_folder(tmp_path / "folder")


def test_files_are_written_here_alone() -> None:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if name == "own_files.py" or name.startswith("vendor/receivers/"):
            continue
        calls = {
            node.func.attr
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in WAYS
            and (
                node.func.attr != "open"
                or any(isinstance(arg, ast.Constant) and arg.value in MODES for arg in node.args)
            )
        }
        if calls - OTHERWISE.get(name, set()):
            found[name] = calls
    assert found == {}


def test_no_context_logs_its_keys() -> None:
    banned = re.compile(r"create_default_context|_create_.*_context|keylog_filename")
    for path in sorted(PACKAGE.rglob("*.py")):
        if "receivers" not in path.parts:
            code = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
            assert [line for line in code if banned.search(line)] == [], path


def test_new_file_is_for_its_owner_and_replaces_nothing(tmp_path: Path) -> None:
    create_own(tmp_path / "file", b"1")
    assert ((tmp_path / "file").read_bytes(), mode(tmp_path / "file")) == (b"1", 0o600)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for taken in ("file", "link"):
        with pytest.raises(FileExistsError):
            create_own(tmp_path / taken, b"2")
    assert (tmp_path / "file").read_bytes() == b"1"
    assert not (tmp_path / "elsewhere").exists()


OWNER, GROUP, ROOT = 1000, 2000, 0


@pytest.mark.parametrize(
    ("mode", "group", "reader", "exposed"),
    [
        (0o600, GROUP, OWNER, False),
        (0o644, ROOT, OWNER, True),
        (0o604, ROOT, OWNER, True),
        (0o640, GROUP, OWNER, True),
        (0o640, ROOT, OWNER, False),
        (0o640, GROUP, OWNER + 1, False),  # The daemon reads it by its group, as it does not own it.
        (0o644, GROUP, OWNER + 1, True),
    ],
)
def test_who_else_can_read_a_file(
    mode: int, group: int, reader: int, *, exposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: reader)
    monkeypatch.setattr(os, "getegid", lambda: 1)
    monkeypatch.setattr(os, "getgroups", lambda: [GROUP])
    found: Any = SimpleNamespace(stat=lambda: SimpleNamespace(st_mode=mode, st_uid=OWNER, st_gid=group))
    assert others_read(found) == exposed
