"""Whatever is printed is escaped, and nothing is printed past it."""

from __future__ import annotations

import ast
import json
import logging
import os
import pty
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
import typer
from jinja2 import Environment

from cdc_bridge import console, displays
from cdc_bridge.cli.app import main
from cdc_bridge.console import (
    escape_logs_of_libraries,
    print_document,
    print_error,
    print_json,
    print_line,
    print_lines,
    print_traceback,
)
from cdc_bridge.displays import line, print_styled, redrawn, show, table
from cdc_bridge.errors import BridgeError
from cdc_bridge.logs import set_up_logs
from cdc_bridge.web.rendering import _ENVIRONMENT
from tests.support.hostile import HOSTILE, LETTERS, SURROGATES, raw_in

PACKAGE = Path(console.__file__).parent
PRINTERS = {Path(console.__file__), Path(displays.__file__)}
PROGRAMS = PACKAGE / "vendor" / "receivers"
"""Examples to copy, which know nothing of this package."""
BANNED = {"print", "echo", "secho", "pprint", "style", "writelines", "print_exc", "print_exception", "breakpoint"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path not in PRINTERS and PROGRAMS not in path.parents)


def ways_past(source: str) -> Iterator[str]:
    """Return what prints without the console."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in BANNED:
                yield f"line {node.lineno}: {name}"
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr"), attr=attribute):
                if attribute not in {"isatty", "flush"}:
                    yield f"line {node.lineno}: sys.{node.value.attr}.{attribute}"  # type: ignore[attr-defined]
            case ast.Import(names=names) if any(each.name.split(".")[0] in {"rich", "curses"} for each in names):
                yield f"line {node.lineno}: rich"
            case ast.ImportFrom(module=str(module), names=names):
                if module.split(".")[0] == "rich" or any(
                    each.name in {"echo", "secho", "stdout", "stderr"} for each in names
                ):
                    yield f"line {node.lineno}: from {module}"
            case _:
                pass


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_prints_through_the_console(path: Path) -> None:
    assert list(ways_past(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "print(1)",
        "typer.echo(1)",
        "typer.secho(1)",
        "from typer import echo",
        "from click import secho as say",
        "sys.stdout.write(text)",
        "sys.stderr.buffer.write(text)",
        "from sys import stdout",
        "from rich.console import Console",
        "import rich.table",
        "traceback.print_exc()",
    ],
)
def test_way_past_the_console_is_found(source: str) -> None:
    assert len(list(ways_past(source))) == 1


def test_typer_is_asked_for_confirmation_with_words_of_ours_only() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr="confirm" | "prompt"), args=words):
                    assert all(isinstance(each, ast.Constant) for each in words), path
                case _:
                    pass


TEXT = f"<{LETTERS}{HOSTILE}{SURROGATES}\n\t>"


def _printed_table() -> None:
    show(table({"id": "left", "notes": "right"}, [(TEXT, ("[red]" + TEXT, "red"))]), line(TEXT, (TEXT, "bold")))


def _printed_again() -> None:
    with redrawn() as draw:
        draw([line(TEXT), table({"id": "left"}, [(TEXT,)])])


def _raise() -> None:
    raise ValueError(TEXT)


def _raised() -> None:
    try:
        _raise()
    except ValueError as error:
        print_traceback(error)


def _logged_by_a_library() -> None:
    escape_logs_of_libraries()
    assert logging.lastResort is not None
    logging.lastResort.handle(logging.LogRecord("asyncio", logging.ERROR, __file__, 1, "%s", (TEXT,), None))


WAYS: tuple[Callable[[], object], ...] = (
    lambda: print_line(TEXT),
    lambda: print_line(TEXT, err=True),
    lambda: print_lines(TEXT),
    lambda: print_json({TEXT: [TEXT, datetime.now(UTC)]}),
    lambda: print_error(BridgeError(TEXT, TEXT, more=[TEXT])),
    lambda: print_styled(TEXT, (TEXT, "green")),
    _printed_table,
    _printed_again,
    _raised,
    _logged_by_a_library,
)


@pytest.mark.parametrize("way", WAYS)
def test_everything_is_escaped_where_there_is_no_terminal(
    way: Callable[[], object], capsys: pytest.CaptureFixture[str]
) -> None:
    way()
    printed = "".join(capsys.readouterr())
    assert "PWNED" in printed
    assert raw_in(printed) == set()


@pytest.mark.parametrize("way", [*WAYS, lambda: print_document(TEXT)])
def test_everything_is_escaped_on_a_terminal(way: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    printed = on_terminal(way, monkeypatch)
    assert "PWNED" in printed
    assert raw_in(printed.replace("\t", ""), on_terminal=True) == set()


def test_progress_bar_escapes_title_note_and_lines_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw() -> None:
        with displays.bar(TEXT) as bar:
            assert bar is not None
            bar.update(1, 2, TEXT)
            bar.print_above(TEXT)

    printed = on_terminal(draw, monkeypatch)
    assert "PWNED" in printed
    assert raw_in(printed, on_terminal=True) == set()


def on_terminal(way: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what is printed on a terminal that is wide enough for everything."""
    monkeypatch.setenv("COLUMNS", "9000")
    monkeypatch.setenv("TERM", "xterm-256color")
    outer, inner = pty.openpty()
    with os.fdopen(inner, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        way()
        monkeypatch.undo()
        terminal.flush()
        os.set_blocking(outer, False)
        printed = b""
        while True:
            try:
                printed += os.read(outer, 65536)
            except BlockingIOError:
                break
    os.close(outer)
    return printed.decode()


def test_document_that_is_piped_keeps_every_byte(capsys: pytest.CaptureFixture[str]) -> None:
    print_document("select '\u202e';\r\n")
    assert capsys.readouterr().out == "select '\u202e';\r\n"


def test_error_that_nobody_foresaw_is_printed_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crashing = typer.Typer(pretty_exceptions_enable=False)
    crashing.command()(_raise)
    monkeypatch.setattr("cdc_bridge.cli.app.app", crashing)
    monkeypatch.setattr(sys, "argv", ["cdc-bridge"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # typer replaces it.
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr().err
    assert ended.value.code == 1
    assert "Traceback" in printed
    assert "PWNED" in printed
    assert raw_in(printed) == set()


def test_line_break_in_an_id_makes_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(BridgeError("there is no reservation R\ncdc-bridge: all is well", "Look again."))
    show(table({"id": "left"}, [("R\nS",)]))
    printed = capsys.readouterr()
    assert printed.err == "cdc-bridge: there is no reservation R\\ncdc-bridge: all is well\n            Look again.\n"
    assert printed.out == "id\nR\\nS\n"


@pytest.fixture(autouse=True)
def _logs_of_libraries_as_they_were() -> Iterator[None]:
    before = logging.lastResort.formatter if logging.lastResort else None
    yield
    if logging.lastResort:
        logging.lastResort.formatter = before


@pytest.fixture
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging_as_it_was")
@pytest.mark.parametrize("log_format", ["console", "json"])
def test_log_lines_are_escaped(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("info", log_format)  # type: ignore[arg-type]
    try:
        _raise()
    except ValueError:
        structlog.get_logger("cdc_bridge.test").exception(
            TEXT, reservation_id=TEXT, more={"a": TEXT}, n=TEXT.encode(errors="replace")
        )
    logging.getLogger("another").error("%s", TEXT)
    printed = capsys.readouterr().err
    assert raw_in(printed) == set()
    if log_format == "json":
        lines = [json.loads(each) for each in printed.splitlines()]
        assert [each["event"] for each in lines] == [TEXT, TEXT]
        assert lines[0]["reservation_id"] == TEXT


def test_page_shows_escaped_what_a_browser_would_hide_or_reorder() -> None:
    environment: Environment = _ENVIRONMENT
    shown = environment.from_string("{{ text }}{{ none }}{{ 5 }}").render(text=TEXT, none=None)
    assert raw_in(shown.replace("\t", "")) == set()
    assert LETTERS in shown
