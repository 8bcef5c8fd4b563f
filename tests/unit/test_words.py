"""The shipped text uses the field's words: none of those that the glossary has replaced.

The glossary is in ``cdc_bridge/README.md``. A word can be right in one place though it was replaced in others: those
places are in ``ALLOWED``, each with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

_DASHBOARD = r"\bthe page('s)?(?= (shows?|is|has|for|with|and|needs|can|or|to)\b|[,.:;)\"'])|(?<!page )\bby page\b"

REPLACED = {
    # As a request and its response
    r"\b(test|each|every|one|another|repeated|late|later|signed|failed|accepted|newer|older|real|few|fifty) calls?\b": (
        "request"
    ),
    r"\bcalls? (is|are|was|were|be|being|go|goes|went|come|comes|came|begin|begins|under way|accepted|refused|made|"
    r"out|at once|in flight|for the same|of (a|the|an|each|one) reservations?)\b": "request",
    r"\b(makes?|made|making|takes?|took|taken|taking|wants?|stops?|end|ends|finish|finished|repeat) "
    r"((its|the|a|an|no|all|any|more|their|of its) )*calls?\b": "request",
    r"\b(endpoints?|reservations?|changes?|who|what|nobody|nothing|it) (is|are|was|were|be|can be) called\b"
    r"(?! (with|when|from)\b)": "sent to",
    r"\bcalls? (an?|the|each|its|to (an?|the)) (endpoint|reservation|EPOS|till)": "sends a request to",
    r"\b(called|call) (once more|again|it again)\b": "sent again",
    r"\b(to be|cannot be|can be|could be|may be|not be|are to be) called\b": "sent; of an endpoint: invalid",
    r"\bHTTPS calls?\b": "webhook, request",
    r"\bcalls? under_?way\b|\bcalls_under_way\b": "requests in flight",
    r"(?<!un)\banswer(s|ed|ing)?\b": "response, respond",
    # Outcomes, states of a delivery
    r"\brefus(ed|als?)\b": "rejected (this delivery), failed (any attempt)",
    r"(?-i:(['\"`>])gone(?=['\"`<])|\bdef gone\b|\bgone\(|\bGONE\b)|\b(settled|counts?) as gone\b": "skipped",
    r"(['\"`>])waiting(?=['\"`<])|\bwaiting deliver(y|ies)\b|\bdeliver(y|ies) (that )?waits?\b": ("queued or retrying"),
    r"\bwaiting_deliveries\b": "queued or retrying",
    # Status of an endpoint
    r"\b(backs|backed|backing)[ _-]off\b": "failing",
    r"(['\"`>])no daemon(?=['\"`<])|\bNO_DAEMON\b|\bby no daemon\b": "unassigned",
    r"\bof another cluster\b|\bOTHER_CLUSTER\b": "invalid",
    r"\bUNCALLABLE\b|\buncallable\b": "invalid",
    r"\b[Ss]tandings?\b|EndpointStanding|\bstanding_of\b": "status",
    # Mechanisms
    r"\bdoorbells?\b|\bDOORBELL\b": "wake-up, notification",
    r"\b(rings?|rang|rung|ringing) (the|it|if|itself)\b|\bthe bell\b|\bwill (not )?ring\b|\brungs?\b|\b_rings?\b": (
        "notify, wake"
    ),
    r"\b(sing|sings|sang|sung|singing)(_at)?\b": "notify, send",
    r"\b(heard|hears|hear)\b": "received, notified",
    r"\bledgers?\b": "delivery log",
    r"\brosters?\b": "assignment",
    r"\bpresence\b": "heartbeat",
    r"\bfences?\b|\b_fence\b": "fencing token",
    r"\bcanar(y|ies)\b": "(deleted)",
    r"\blanes?\b": "per-reservation queue",
    r"\b(endpoints?|it) (is|was|are) (held|taken)\b|\b(holds?|takes?) (an|the|each|its|all|over the) endpoints?\b": (
        "leased, assigned"
    ),
    r"\bping(s|ed|ing)?\b|\b(send_)?ping_?\b|\bpong\b": "test request",
    _DASHBOARD: "dashboard",
    # English
    r"\b(is|are|was|were|be|being) told\b": "is notified, is reported, is recognised",
    r"\b(can|cannot|could|not|to) be had\b": "available",
    r"\bcom(e|es|ing) about\b|\bcame about\b": "happen",
    r"\bnot well\b": "problem",
    r"\bsurprises?\b": "unexpected error, crash",
    r"\bswallow(s|ed)?\b": "discard",
}
"""Patterns of the words that were replaced, in any case, and what stands in their place."""

ALLOWED = {
    r"connection refused|ConnectionRefused|ECONNREFUSED": "the operating system's term",
    r"\bHTTPStatus\.GONE\b": "HTTP's term",
    r"guests and staff call the reservation": "they name it so",
    r"(phone|telephone) calls?\b": "the reservation's phone call",
    r"so call is never null": "the key of the contract",
    r"connection to come about": "CONTRIBUTING's example of what not to write",
}
"""Patterns of what is right though a word of it was replaced, with the reason."""

READ_BY_PAGES = {"capture", "deliveries", "pipeline", "schema", "sql"}
"""Rooms in which a page is a part of a long list."""

SUFFIXES = {
    ".py", ".sql", ".md", ".html", ".css", ".js", ".mjs", ".php", ".java", ".cs", ".json", ".yml", ".sh", ".service",
    ".svg", ".1", ".txt",
}  # fmt: skip

_REPLACED = [(re.compile(pattern, re.IGNORECASE), better) for pattern, better in REPLACED.items()]
_ALLOWED = [re.compile(pattern, re.IGNORECASE) for pattern in ALLOWED]


@dataclass(frozen=True)
class Found:
    """A replaced word in a file."""

    file: Path
    line: int
    word: str
    better: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.word!r} -> {self.better}"


def rooms() -> list[str]:
    """Return the names of the parts of the shipped text: rooms, the modules beside them, SQL, documents."""
    packages = sorted(path.parent.name for path in (PROJECT / "cdc_bridge").glob("*/__init__.py"))
    return [*packages, "cdc_bridge", "sql", "documents"]


def files_of(room: str) -> list[Path]:
    package = PROJECT / "cdc_bridge"
    match room:
        case "documents":
            return [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", PROJECT / "docker-compose.yml"]
        case "cdc_bridge":
            found = list(package.glob("*"))
        case "sql":
            found = list((PROJECT / "sql").rglob("*"))
        case _:
            found = list((package / room).rglob("*"))
    return sorted(path for path in found if path.suffix in SUFFIXES)


def replaced_words(room: str) -> Iterator[Found]:
    for file in files_of(room):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            for word, better in words_in(line):
                if not (better == REPLACED[_DASHBOARD] and room in READ_BY_PAGES):
                    yield Found(file.relative_to(PROJECT), number, word, better)


def words_in(line: str) -> Iterator[tuple[str, str]]:
    right = [allowed.span() for pattern in _ALLOWED for allowed in pattern.finditer(line)]
    for pattern, better in _REPLACED:
        for found in pattern.finditer(line):
            if not any(begin < found.end() and found.start() < end for begin, end in right):
                yield found[0], better


@pytest.mark.parametrize("room", rooms())
def test_no_word_is_used_that_was_replaced(room: str) -> None:
    found = [str(each) for each in replaced_words(room)]
    assert not found, f"{len(found)} in {room}:\n" + "\n".join(found)


def test_every_shipped_text_is_read() -> None:
    read = {file for room in rooms() for file in files_of(room)}
    shipped = {
        path
        for folder in ("cdc_bridge", "sql")
        for path in (PROJECT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path.suffix for path in shipped - read} <= {".lock", ".png", ".typed", ".toml", ""}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Rings the doorbell.", {"Rings the", "doorbell"}),
        ("the connection was refused: Connection refused", {"refused"}),
        ("a test call, answered with 204", {"test call", "answered"}),
        ('"call": null, the telephone call is the first', set()),
        ("the state 'gone' of a table that is gone", {"'gone"}),
        ("the function call returns what it is called with", set()),
    ],
)
def test_words_are_recognised(line: str, words: set[str]) -> None:
    assert {word for word, _ in words_in(line)} == words
