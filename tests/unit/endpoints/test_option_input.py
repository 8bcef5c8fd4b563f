"""What an operator may give as an endpoint's options: the same as in the settings, and said as there."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from cdc_bridge.endpoints.option import Setter
from cdc_bridge.endpoints.option_input import (
    checked_name,
    checked_options,
    checked_secret,
    header_lines_of,
    secret_line_of,
    with_defaults,
)
from cdc_bridge.endpoints.options import options_for
from cdc_bridge.errors import FaultyInput, WrongUsage
from cdc_bridge.own_files import user_name
from tests.support.certificates import Certificates

MARK = "an-unmistakable-word"
SECRET = "whsec_" + b64encode(b"s" * 32).decode()


@pytest.mark.parametrize("name", ["till", "t", "0", "till-2", "kitchen_screen", "a" * 63])
def test_name_that_may_be_taken(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["", "Till", "-till", "_till", "till 2", "till\n", "tïll", "a" * 64, "default"])
def test_name_that_may_not_be_taken(name: str) -> None:
    with pytest.raises(WrongUsage, match=r"^NAME "):
        checked_name(name)


def test_what_is_not_given_has_its_default() -> None:
    options = with_defaults({"url": "https://till.example", "max_in_flight": 3})
    assert options.keys() == {option.name for option in options_for(Setter.OPERATOR)}
    assert (options["url"], options["headers"], options["max_in_flight"], options["timeout_seconds"]) == (
        "https://till.example",
        (),
        3,
        15,
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "http://till.example"}, "URL has to begin with https://"),
        ({"url": f"https://u:{MARK}@till.example"}, "into a header of the endpoint"),
        ({"url": ""}, "URL has to begin with https://"),
        ({"url": "localhost:8081"}, "URL has to begin with https:// (http:// is for localhost only)"),
        ({"url": "https:///x"}, "URL names no host"),
        ({"url": "https://127.1/"}, "URL names an IPv4 address that is not four numbers"),
        ({"headers": (MARK,)}, '--header has to be "Name: value"'),
        ({"headers": ("host: x",)}, "--header sets host"),
        ({"headers": ("webhook-id: x",)}, "--header sets webhook-id"),
        ({"headers": (f"x-a: {MARK}", f"X-A: {MARK}")}, "--header has the same header twice"),
        ({"headers": (f"x-a: {MARK}\r\nx-b: c",)}, "control character"),
        ({"max_in_flight": 0}, "--max-in-flight should be greater than or equal to 1"),
        ({"max_in_flight": 1001}, "--max-in-flight should be less than or equal to 1000"),
        ({"max_per_second": 0.0}, "--max-per-second should be greater than 0"),
        ({"max_per_second": 10_001.0}, "--max-per-second should be less than or equal to 10000"),
        ({"max_per_second": float("nan")}, "--max-per-second should be"),
        ({"timeout_seconds": 0.0}, "--timeout-seconds should be greater than 0"),
        ({"timeout_seconds": float("nan")}, "--timeout-seconds should be"),
        ({"connect_timeout_seconds": float("inf")}, "--connect-timeout-seconds should be less than or equal to 300"),
        ({"ca_file": "ca.pem"}, "--ca-file has to be an absolute path"),
        ({"ca_file": "/ca\n.pem"}, "--ca-file has a character in its name"),
        ({"ca_file": "/udc\udc80.pem"}, "--ca-file has a character in its name"),
        ({"ca_file": "/"}, "--ca-file names /, which cannot be read"),
        ({"client_key_file": "/key.pem"}, "--client-key-file needs a client certificate file"),
        (
            {"client_key_file": "/key.pem", "client_certificate_file": ""},
            "--client-key-file needs a client certificate file",
        ),
    ],
)
def test_refused_in_words_without_the_value(given: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongUsage) as raised:
        checked_options(given, allow_http=False)
    assert words in raised.value.problem
    assert MARK not in str(raised.value)


def test_everything_that_is_wrong_is_named_at_once() -> None:
    given = {"url": "http://till.example", "max_in_flight": 0, "timeout_seconds": 1, "headers": (MARK,), "ca_file": "x"}
    with pytest.raises(FaultyInput) as raised:
        checked_options(given, allow_http=False)
    assert [fault.name for fault in raised.value.faults] == ["max_in_flight", "headers", "ca_file", "url"]
    assert [line.split()[0] for line in raised.value.lines] == ["--max-in-flight", "--header", "--ca-file", "URL"]
    assert MARK not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": None}, "URL has to be a text"),
        ({"max_in_flight": "4"}, "--max-in-flight has to be a number"),
        ({"max_in_flight": True}, "--max-in-flight has to be a number"),
        ({"max_in_flight": 4.5}, "--max-in-flight has to be a whole number"),
        ({"max_in_flight": float("inf")}, "--max-in-flight has to be a whole number"),
        ({"timeout_seconds": [1]}, "--timeout-seconds has to be a number"),
        ({"latest_only": "on"}, "--latest-only has to be true or false"),
        ({"headers": "x-a: b"}, "--header has to be a list of texts"),
        ({"only": ["a=b", None]}, "--only has to be a list of texts"),
        ({"events": ["both"]}, "--events has to be a text"),
        ({"events": "all"}, "--events has to be one of"),
        ({"ca_file": {}}, "--ca-file has to be a text"),
        ({"proxy": 1}, "--proxy has to be a text"),
    ],
)
def test_value_of_another_type_is_rejected(given: dict[str, Any], words: str) -> None:
    with pytest.raises(FaultyInput) as raised:
        checked_options(given, allow_http=False)
    assert raised.value.problem.startswith(words)


def test_whole_number_may_be_written_with_a_point() -> None:
    assert checked_options({"max_in_flight": 4.0}, allow_http=False).stored == {"max_in_flight": 4}


@pytest.mark.parametrize("name", [option.name for option in options_for(Setter.OPERATOR) if option.optional])
def test_empty_text_removes_an_option_that_may_be_without_a_value(name: str) -> None:
    assert checked_options({name: ""}, allow_http=False).stored[name] is None


def test_headers_come_out_tidy() -> None:
    checked = checked_options({"headers": ("x-a:b ", "X-B:  c:d")}, allow_http=False)
    assert checked.stored["headers"] == ["x-a: b", "X-B: c:d"]


def test_file_that_is_here_has_to_be_good(tmp_path: Path, certificates: Certificates) -> None:
    checked = checked_options({"ca_file": str(certificates.ca_file)}, allow_http=False)
    assert checked.warnings == ()
    empty = tmp_path / "empty.pem"
    empty.touch()
    for options in ({"ca_file": str(empty)}, {"client_certificate_file": str(empty)}):
        with pytest.raises(WrongUsage, match="no PEM certificate"):
            checked_options(options, allow_http=False)


def test_file_that_is_elsewhere_is_taken_with_a_warning() -> None:
    options = {
        "ca_file": "/of/the/daemon.pem",
        "client_certificate_file": "/of/the/c.pem",
        "client_key_file": "/of/the/k.pem",
    }
    warnings = checked_options(options, allow_http=False).warnings
    assert [
        path for path in ("/of/the/daemon.pem", "/of/the/c.pem", "/of/the/k.pem") if path not in str(warnings)
    ] == []


def test_certificate_takes_its_key_along_when_it_goes() -> None:
    before = {"client_certificate_file": "/c.pem", "client_key_file": "/k.pem"}
    checked = checked_options({"client_certificate_file": ""}, allow_http=False, before=before)
    assert checked.stored["client_key_file"] is None
    assert checked.warnings == ()


def test_key_is_checked_with_the_certificate_that_is_there(tmp_path: Path, certificates: Certificates) -> None:
    key = tmp_path / "key.pem"
    key.write_text("no key")
    before = {"client_certificate_file": str(certificates.ca_file)}
    with pytest.raises(WrongUsage, match="does not hold its key"):
        checked_options({"client_key_file": str(key)}, allow_http=False, before=before)


@pytest.mark.parametrize("content", [b"x-a: b\nauthorization: c\n", b"\r\nx-a: b\r\n\r\nauthorization: c"])
def test_file_of_headers(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "headers"
    file.write_bytes(content)
    assert header_lines_of(file) == ("x-a: b", "authorization: c")


@pytest.mark.parametrize(("content", "words"), [(b"", "no header in it"), (b"\n \n", "no header"), (b"\xff", "UTF-8")])
def test_file_without_headers_is_refused_and_takes_none_away(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "headers"
    file.write_bytes(content)
    with pytest.raises(WrongUsage, match=words):
        header_lines_of(file)
    with pytest.raises(WrongUsage, match="cannot be read"):
        header_lines_of(tmp_path / "nothing")


@pytest.mark.parametrize("content", [SECRET, f"{SECRET}\n", f"\n  {SECRET} \r\n\n"])
def test_file_of_a_secret(tmp_path: Path, content: str) -> None:
    file = tmp_path / "secret"
    file.write_text(content)
    assert checked_secret(secret_line_of(file)) == SECRET


def test_secret_is_made_as_it_is_advised(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage) as raised:
        secret_line_of(tmp_path / "nothing")
    command = raised.value.remedy.partition("To make one: ")[2]
    subprocess.run(["sh", "-euc", command], cwd=tmp_path, check=True)
    assert checked_secret(secret_line_of(tmp_path / "secret")).startswith("whsec_")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has to hold one line, not 0"),
        (b" \n\n", "has to hold one line, not 0"),
        (f"{SECRET}\n{MARK}\n".encode(), "has to hold one line, not 2"),
        (MARK.encode(), "has to begin with whsec_"),
        (f"WHSEC_{MARK}".encode(), "has to begin with whsec_"),
        (f"whsec_{MARK}!".encode(), "has to be base64 after whsec_"),
        (f"whsec_{MARK}ü".encode(), "has to be base64 after whsec_"),
        (f"{SECRET} {MARK}".encode(), "has to be base64 after whsec_"),
        (b"whsec_" + b64encode(b"x" * 23), "has to hold 24 to 64 bytes, not 23"),
        (b"whsec_" + b64encode(b"x" * 65), "has to hold 24 to 64 bytes, not 65"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_file_without_a_secret_is_rejected_without_being_shown(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(WrongUsage) as raised:
        checked_secret(secret_line_of(file))
    told = str(raised.value)
    assert told.startswith("--secret-file ")
    assert 'To make one: echo "whsec_$(openssl rand -base64 32)" > secret' in told
    assert words in told
    assert MARK not in told
    assert b64encode(b"x" * 15).decode() not in told


def test_file_of_a_secret_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match=r"^--secret-file .* cannot be read: No such file or directory"):
        secret_line_of(tmp_path / "nothing")


def test_file_that_may_not_be_read_is_to_be_passed_on_standard_input(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    file = tmp_path / "file"
    with pytest.raises(WrongUsage) as raised:
        header_lines_of(file)
    assert raised.value.problem == f"--header-file {file} cannot be read by user {user_name()}: Permission denied"
    assert raised.value.remedy == f"Pass it on standard input: --header-file - < {file}"
    with pytest.raises(WrongUsage) as raised:
        secret_line_of(file, "secret_file")
    assert "standard input" not in raised.value.remedy
