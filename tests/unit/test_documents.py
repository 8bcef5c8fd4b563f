"""README, the guides, the map and CONTRIBUTING: every link, command, file and table in them is right."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from cdc_bridge.guides import Guide, guide_text
from tests.bench.publishing import (
    BENCHMARK_PART,
    COST_PART,
    ENDPOINTS_PART,
    PEERS_PART,
    published_cost_table,
    published_endpoints_table,
    published_headlines,
    published_peers_table,
    published_table,
)
from tests.support.generated import DBA_GUIDE, MAP, OPERATOR_GUIDE, PROJECT, README, generated_part
from tests.support.guide_tables import LAYERS_PART, layers

MAN_PAGE = PROJECT / "cdc_bridge" / "packaging" / "cdc-bridge.1"
DOCUMENTS = [
    *sorted(PROJECT.glob("*.md")),
    *sorted((PROJECT / "tests").rglob("*.md")),
    *sorted((PROJECT / "cdc_bridge").rglob("*.md")),
    *sorted((PROJECT / "sql").rglob("*.md")),
]
IDS = [str(document.relative_to(PROJECT)) for document in DOCUMENTS]

_FENCED = re.compile(r"^```.*?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^    (.*)$", re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def code_of(document: Path) -> Iterator[str]:
    """Yield the lines and words of code in a document."""
    text = text_of(document)
    for block in _FENCED.findall(text):
        yield from block.splitlines()
    prose = _FENCED.sub("", text)
    yield from _INDENTED.findall(prose)
    yield from (" ".join(words.split()) for words in _INLINE.findall(prose))


def links_of(document: Path) -> list[str]:
    prose = _FENCED.sub("", text_of(document))
    found = re.findall(r"\]\(([^)\s]+)\)", _INLINE.sub("", prose))
    return [link for link in found if "://" not in link and not link.startswith("mailto:")]


def anchors_of(document: Path) -> set[str]:
    """Return the anchors that a browser of the repository makes of a document's headings."""
    headings = re.findall(r"^#+ (.*)$", _FENCED.sub("", text_of(document)), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_relative_link_and_anchor_resolves(document: Path) -> None:
    broken = []
    for link in links_of(document):
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", text_of(PROJECT / "Makefile"), flags=re.MULTILINE))
    named = {target for code in code_of(document) for target in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)", code)}
    assert named <= targets


def commands() -> dict[str, set[str]]:
    """Return the options of each command, from the man page, which a test keeps up to date."""
    page = text_of(MAN_PAGE).replace("\\-", "-")
    found: dict[str, set[str]] = {}
    for section in page.partition(".SH COMMANDS")[2].partition(".SH SETTINGS")[0].split(".SS cdc-bridge ")[1:]:
        heading = section.partition("\n")[0].split()
        name = " ".join(takewhile(re.compile(r"[a-z-]+").fullmatch, heading))
        found[name] = set(re.findall(r"--[a-z-]+", section)) | {"--config", "--database-url", "--help"}
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_command_and_option_that_is_named_exists(document: Path) -> None:
    known = commands()
    groups = {name.partition(" ")[0] for name in known if " " in name}
    wrong = []
    for code in code_of(document):
        for called in re.findall(r"(?<![\w/.-])cdc-bridge ([a-z][^|>&;]*)", code):
            words = re.sub("^systemd exec (?=[a-z])", "", called).rstrip("'").split()
            name = " ".join(words[: 2 if words[0] in groups and len(words) > 1 else 1])
            options = set(re.findall(r"(?<=\s)--[a-z-]+", called))
            if name in groups:
                continue
            if name not in known or not options <= known[name]:
                wrong.append(called)
    assert wrong == []


def test_readme_is_short_and_narrow() -> None:
    lines = text_of(README).splitlines()
    assert len(lines) <= 160
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_readme_says_webhooks_first() -> None:
    _, _, text = text_of(README).partition("\n\n")
    assert "webhooks" in text.partition(". ")[0]


def test_readme_names_every_guide() -> None:
    assert [guide for guide in Guide if f"cdc-bridge guide {guide}" not in text_of(README) + text_of(DBA_GUIDE)] == []


@pytest.mark.parametrize("guide", Guide)
def test_every_guide_begins_with_its_title(guide: Guide) -> None:
    assert guide_text(guide).startswith("# ")


def test_tables_of_figures_are_those_of_the_published_run() -> None:
    assert generated_part(README, BENCHMARK_PART) == f"\n{published_headlines()}\n", "make man"
    assert generated_part(README, PEERS_PART) == f"\n{published_peers_table()}\n", "make man"
    assert generated_part(OPERATOR_GUIDE, BENCHMARK_PART) == f"\n{published_table()}\n", "make man"
    assert generated_part(OPERATOR_GUIDE, ENDPOINTS_PART) == f"\n{published_endpoints_table()}\n", "make man"
    assert generated_part(DBA_GUIDE, COST_PART) == f"\n{published_cost_table()}\n", "make man"


def test_map_has_the_layers_that_are_checked() -> None:
    assert generated_part(MAP, LAYERS_PART) == f"\n{layers()}\n", "make man"


def test_map_has_every_room() -> None:
    table = text_of(MAP).partition("| room |")[2].partition("\n\n")[0]
    rooms = {file.parent.name for file in (PROJECT / "cdc_bridge").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `([a-z_]+)/` \|", table, flags=re.MULTILINE)) == rooms


def test_files_that_the_map_names_exist() -> None:
    words = {word for code in code_of(MAP) for word in code.split()}
    named = {word for word in words if re.fullmatch(r"[\w/-]+\.(py|sql|json|yml|md)", word) and "/" in word}
    assert {name for name in named if not any((root / name).exists() for root in (PROJECT, MAP.parent))} == set()


def definitions_named_in(heading: str) -> Iterator[tuple[str, str]]:
    """Yield the definitions that a table of the map names, as (file, name)."""
    table = text_of(MAP).partition(heading)[2].partition("\n\n")[0]
    for file, names in re.findall(r"`([\w/]+\.py)`: ((?:`\w+`(?:, )?)+)", table):
        yield from ((file, name) for name in _INLINE.findall(names))
    yield from ((file, name) for name, file in re.findall(r"`(\w+)` in `([\w/]+\.py)`", table))
    for protocols, file in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| `([\w/]+\.py)` \|", table, flags=re.MULTILINE):
        yield from ((file, name) for name in _INLINE.findall(protocols))


@pytest.mark.parametrize(("heading", "at_least"), [("| step | what happens |", 30), ("| Protocol | in |", 20)])
def test_definitions_that_the_map_names_exist(heading: str, at_least: int) -> None:
    named = list(definitions_named_in(heading))
    assert len(named) >= at_least
    missing = [
        (file, name)
        for file, name in named
        if not re.search(rf"^ *(async def|def|class) {name}\b", text_of(MAP.parent / file), flags=re.MULTILINE)
    ]
    assert missing == []


def test_map_has_every_protocol() -> None:
    declared = {
        (str(module.relative_to(MAP.parent)), name)
        for module in MAP.parent.rglob("*.py")
        for name in re.findall(r"^class (\w+)\(Protocol\):", text_of(module), flags=re.MULTILINE)
    }
    assert declared - set(definitions_named_in("| Protocol | in |")) == set()


def test_licence_is_named_in_the_package() -> None:
    project = tomllib.loads(text_of(PROJECT / "pyproject.toml"))["project"]
    assert (project["license"], project["license-files"], project["readme"]) == ("MIT", ["LICENSE"], "README.md")
    assert "MIT License\n\nCopyright (c) 2026 cdc-bridge contributors\n" in text_of(PROJECT / "LICENSE")


def test_commit_hook_runs_the_gates() -> None:
    hooks = text_of(PROJECT / ".pre-commit-config.yaml")
    assert re.findall(r"^  - repo: (.*)$", hooks, flags=re.MULTILINE) == ["local"]
    assert re.findall(r"^        entry: (.*)$", hooks, flags=re.MULTILINE) == ["make check"]
