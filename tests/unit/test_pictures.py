"""The pictures that README and the guides show: they are there, small, and have an alternative text."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.support.generated import PROJECT
from tests.unit.test_documents import DOCUMENTS, text_of

PNG = b"\x89PNG\r\n\x1a\n"
LARGEST_BYTES = {".png": 120_000, ".svg": 150_000}
DRAWN_BY_HAND = PROJECT / "cdc_bridge" / "packaging" / "flow.svg"
SVG = "{http://www.w3.org/2000/svg}"
SHOWN = [
    (document, alternative, (document.parent / file).resolve())
    for document in DOCUMENTS
    for alternative, file in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", text_of(document))
]


@pytest.mark.parametrize(
    ("alternative", "file"), [each[1:] for each in SHOWN], ids=[f"{each[0].name}-{each[2].name}" for each in SHOWN]
)
def test_picture_is_a_small_png_or_svg_with_an_alternative_text(alternative: str, file: Path) -> None:
    content = file.read_bytes()
    assert len(content) <= LARGEST_BYTES[file.suffix]
    if file.suffix == ".svg":
        assert ET.fromstring(content).tag == f"{SVG}svg"
    else:
        assert content.startswith(PNG)
    assert len(alternative.split()) > 3, "say what is to be seen"


def test_every_picture_that_is_packaged_is_shown() -> None:
    folder = DRAWN_BY_HAND.parent
    assert {*folder.glob("*.png"), *folder.glob("*.svg")} <= {file for *_, file in SHOWN}


def test_picture_of_the_flow_can_be_read_aloud_and_does_nothing() -> None:
    text = text_of(DRAWN_BY_HAND)
    drawn = ET.fromstring(text)
    assert len(text.encode()) <= 8000
    named = drawn.attrib["aria-labelledby"].split()
    found = {element.attrib.get("id"): (element.text or "").strip() for element in drawn.iter()}
    assert all(found[name] for name in named)
    assert {"title", "desc"} <= {element.tag.removeprefix(SVG) for element in drawn}
    tags = {element.tag.removeprefix(SVG) for element in drawn.iter()}
    assert tags & {"script", "image", "foreignObject", "a", "use"} == set()
    assert "prefers-color-scheme: dark" in text
    assert re.findall(r"(?:href|src|@import|url\((?!#))", text) == []
