"""The text of a manifest: read, searched for lines, and written."""

from __future__ import annotations

import json
import tomllib

import pytest

from cdc_bridge.endpoints.manifest_text import as_secrets, lines_in, parsed, toml_value
from cdc_bridge.errors import WrongUsage
from tests.support.hostile import HOSTILE, raw_in

TOML = """\
# it's \"\"\"
x = \"\"\"
[endpoints.fake]
url = 1
\"\"\"
[defaults] # for all
payload = "k"
only = [
  "max_in_flight = 3",
  "a=b"]
  [ endpoints . "till" ]
url = '[endpoints.fake]'
"max_in_flight"=3
[endpoints]
bar.url = "x"
screen = {url = "y"}
"""
JSON = """\
{ "defaults": {"only": ["a:b", "{", "x"], "proxy": null},
  "endpoints": {
    "till": {"url": "\\"fake\\": {", "only":
      ["a"],
      "max_in_flight": 3},
    "b\\u0061r": {"url": "y"}}}
"""


def test_lines_of_tables_and_keys_are_found() -> None:
    tomllib.loads(TOML)
    assert lines_in(TOML) == {
        ("x",): 2,
        ("defaults",): 6,
        ("defaults", "payload"): 7,
        ("defaults", "only"): 8,
        ("endpoints",): 11,
        ("endpoints", "till"): 11,
        ("endpoints", "till", "url"): 12,
        ("endpoints", "till", "max_in_flight"): 13,
        ("endpoints", "bar"): 15,
        ("endpoints", "bar", "url"): 15,
        ("endpoints", "screen"): 16,
    }
    json.loads(JSON)
    assert lines_in(JSON) == {
        ("defaults",): 1,
        ("defaults", "only"): 1,
        ("defaults", "proxy"): 1,
        ("endpoints",): 2,
        ("endpoints", "till"): 3,
        ("endpoints", "till", "url"): 3,
        ("endpoints", "till", "only"): 3,
        ("endpoints", "till", "max_in_flight"): 5,
        ("endpoints", "bar"): 6,
        ("endpoints", "bar", "url"): 6,
    }


@pytest.mark.parametrize("text", [TOML, JSON])
def test_line_ends_of_other_systems_are_line_ends(text: str) -> None:
    assert parsed(text.replace("\n", "\r\n")).keys() == parsed(text).keys()
    assert lines_in(text.replace("\n", "\r\n")) == lines_in(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[endpoints.till", "is not TOML"),
        ("[endpoints.till]\n[endpoints.till]\n", r"is not TOML: .*\(at line 2"),
        ("[endpoints.till]\rurl = 1", "is not TOML"),
        (f"[endpoints.till]\nmax_in_flight = {'9' * 5000}", "is not TOML"),
        ("x = " + "[" * 100_000, "is not TOML"),
        ('[{"name": "till"}]', "A manifest in JSON begins with {"),
        ('{"endpoints": ', r"is not JSON: .*line 1"),
        ('{"endpoints": ' + "[" * 100_000, "is not JSON"),
        ('{"endpoints": {"till": {"url": "x"},\n"till": {}}}', 'the key "till" twice .*, at line 1 and line 2'),
        ('{"endpoints": {"till": {"url": "x", "url": "y"}}}', 'the key "url" twice .*, at line 1 and line 1'),
        ('{"x": {"\\u0061": 1,\n\n"a": 2}, "y": ]]]:', 'the key "a" twice .*, at line 1 and line 3'),
    ],
)
def test_what_is_neither_toml_nor_json(text: str, words: str) -> None:
    with pytest.raises(WrongUsage) as refused:
        parsed(text)
    assert refused.match(words)


@pytest.mark.parametrize("text", ['"\\', "\x7f\x00\n\t", HOSTILE, "\U0001f600\U000e0100", "Bär"])
def test_text_in_toml_is_read_as_it_was_and_shows_itself(text: str) -> None:
    written = toml_value([text])
    assert tomllib.loads(f"x = {written}") == {"x": [text]}
    assert raw_in(written) == set()


def test_secrets_are_toml_by_name() -> None:
    secrets = {"till": "whsec_+/=", "1": "whsec_2", "a-b_c": "whsec_3"}
    assert tomllib.loads(as_secrets(secrets)) == secrets
