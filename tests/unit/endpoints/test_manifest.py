"""A manifest: how it is read, what it changes, and that what is exported changes nothing."""

from __future__ import annotations

import json
import tomllib
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.endpoints.manifest import DECLARED, DEFAULT_VALUES, Fault, Manifest, read_manifest
from cdc_bridge.endpoints.manifest_plan import Change, Plan, SecretChange, StoredEndpoint, as_manifest, make_plan
from cdc_bridge.endpoints.manifest_text import as_toml, lines_in, toml_value
from cdc_bridge.endpoints.option import Option
from cdc_bridge.endpoints.option_input import stored_value
from cdc_bridge.endpoints.options import UnusableOption
from cdc_bridge.errors import WrongUsage
from cdc_bridge.model import EndpointId
from tests.support.options import another_value

URL = "https://till.example/reservations"
MARK = "an-unmistakable-word"
SECRET, OTHER = ("whsec_" + b64encode(letter * 32).decode() for letter in (b"1", b"2"))

every_option = pytest.mark.parametrize("option", DECLARED.values(), ids=lambda option: option.name)


def words(faults: Sequence[Fault]) -> list[str]:
    return [f"{fault.place}: {fault.problem}" if fault.place else fault.problem for fault in faults]


def no_secret(path: Path) -> str:
    raise WrongUsage(f"secret_file {path} cannot be read")


def read(text: str, *, allow_http: bool = False, secret: str = "") -> Manifest:
    return read_manifest(text, allow_http=allow_http, secret_in=(lambda _: secret) if secret else no_secret)


def declared(text: str, **more: Any) -> Manifest:
    manifest = read(text, **more)
    assert manifest.faults == ()
    return manifest


def till(text: str = "", url: str = URL) -> Manifest:
    return declared(f'[endpoints.till]\nurl = "{url}"\n{text}')


def stored(name: str = "till", *, secret: str | None = SECRET, in_settings: bool = False, **options: Any) -> Any:
    return StoredEndpoint(EndpointId(1), name, in_settings, {"url": URL} | DEFAULT_VALUES | options, secret)


def only_change(plan: Plan) -> Change:
    assert plan.faults == ()
    assert (plan.added, plan.removed) == ((), ())
    (change,) = plan.changed
    return change


def test_what_is_not_given_has_the_default_of_the_file_or_of_the_option() -> None:
    text = """
        [defaults]
        max_in_flight = 3
        signed = false
        [endpoints.till]
        url = "https://till.example"
        [endpoints.bar]
        url = "https://bar.example"
        max_in_flight = 4
        signed = true
        max_per_second = ""
    """
    endpoints = declared(text).endpoints
    assert endpoints["till"].stored == DEFAULT_VALUES | {"url": "https://till.example", "max_in_flight": 3}
    assert endpoints["bar"].stored == DEFAULT_VALUES | {"url": "https://bar.example", "max_in_flight": 4}
    assert [endpoint.signed for endpoint in endpoints.values()] == [False, True]


def test_json_is_read_as_toml_is() -> None:
    text = '{"defaults": {"events": "created"}, "endpoints": {"till": {"url": "https://till.example", "proxy": null}}}'
    toml = '[defaults]\nevents = "created"\n[endpoints.till]\nurl = "https://till.example"'
    assert declared(text) == declared(toml)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "there is no table endpoints.NAME"),
        ("[endpoint.till]\n[endpoints]", "endpoint is not a table of a manifest; did you mean endpoints?"),
        ("endpoints = 1", "endpoints has to be a table"),
        ("defaults = 1\n[endpoints]", "defaults has to be a table"),
        ("[endpoints]\ntill = 1", "endpoints.till: it has to be a table"),
        ("[endpoints.till]", "endpoints.till: url is missing"),
        (f'[defaults]\nurl = "{URL}"\n[endpoints]', "defaults: url is not an option"),
        ('[defaults]\nsecret_file = "x"\n[endpoints]', "defaults: secret_file is not an option"),
        ("[defaults]\nmax_in_flight = 0\n[endpoints]", "defaults: max_in_flight should be greater than or equal to 1"),
    ],
)
def test_fault_of_a_file(text: str, fault: str) -> None:
    assert [each.startswith(fault) for each in words(read(text).faults)] == [True]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("max_in_fligt = 3", "max_in_fligt is not an option; did you mean max_in_flight?"),
        (f'secret = "{MARK}"', "secret cannot be in a manifest; a secret that the vendor made comes from a file"),
        ("max_in_flight = true", "max_in_flight has to be a whole number"),
        ("max_in_flight = 1.5", "max_in_flight has to be a whole number"),
        ("timeout_seconds = true", "timeout_seconds has to be a number"),
        ("timeout_seconds = nan", "timeout_seconds should be greater than 0"),
        ("timeout_seconds = inf", "timeout_seconds should be less than or equal to 300"),
        ('latest_only = "yes"', "latest_only has to be true or false"),
        (f'headers = "x-a: {MARK}"', "headers has to be a list of texts"),
        (f'headers = {{x-a = "{MARK}"}}', "headers has to be a list of texts"),
        (f'headers = ["{MARK}"]', 'headers has to be "Name: value"'),
        ("only = [1]", "only has to be a list of texts"),
        ("events = 1", "events has to be a text"),
        ('events = "all"', "events has to be one of both, created, updated"),
        ("ca_file = 2026-01-01", "ca_file has to be a text"),
        ('ca_file = "ca.pem"', "ca_file has to be an absolute path"),
        ('signed = "no"', "signed has to be true or false"),
        ("secret_file = 1", "secret_file has to be a text"),
        ('secret_file = "-"', "secret_file has to name a file"),
        ('secret_file = "a\\u0000b"', "secret_file has to name a file"),
        ('secret_file = "/x"', "secret_file /x cannot be read"),
        (f'secret_file = "whsec_{MARK}"', "secret_file has to name a file, in which the secret is"),
    ],
)
def test_fault_of_an_endpoint_names_it_and_the_option(line: str, fault: str) -> None:
    manifest = read(f'[endpoints.till]\nurl = "{URL}"\n{line}')
    assert [each.startswith(f"endpoints.till: {fault}") for each in words(manifest.faults)] == [True]
    assert MARK not in str(manifest)


def test_every_fault_is_named_at_once() -> None:
    text = '[endpoints.Till]\nurl = "http://x"\nevents = "x"\n[endpoints.default]\nurl = 1\n[endpoints.bar]\nx = 1'
    faults = read(text).faults
    assert [fault.path[1:] for fault in faults] == [
        ("Till",), ("Till", "url"), ("Till", "events"), ("default",), ("default", "url"), ("bar", "x"), ("bar",)
    ]  # fmt: skip
    assert "NAME default belongs to the endpoint that a daemon's settings declare" in faults[3].problem


def test_http_to_this_machine_is_allowed_for_development() -> None:
    text = '[endpoints.till]\nurl = "http://localhost:1"'
    assert declared(text, allow_http=True).endpoints
    assert "has to begin with https://" in read(text).faults[0].problem


def test_secret_of_the_vendor_excludes_an_endpoint_that_is_not_signed() -> None:
    text = f'[endpoints.till]\nurl = "{URL}"\nsecret_file = "/x"\n'
    assert declared(text, secret=OTHER).endpoints["till"].secret == OTHER
    assert "exclude each other" in read(f"{text}signed = false", secret=OTHER).faults[0].problem
    assert declared(f"[defaults]\nsigned = false\n{text}", secret=OTHER).endpoints["till"].signed


def test_new_endpoints_are_added_and_others_left_alone() -> None:
    plan = make_plan(till("max_in_flight = 3"), [stored("old"), stored("default", in_settings=True)])
    (added,) = plan.added
    assert (added.name, added.stored["max_in_flight"], added.secret) == ("till", 3, SecretChange())
    assert (plan.changed, plan.removed, plan.unchanged, plan.left) == ((), (), (), 1)


def test_others_are_removed_if_that_is_said_but_never_that_of_the_settings() -> None:
    plan = make_plan(till(), [stored(), stored("old"), stored("default", in_settings=True)], prune=True)
    assert [endpoint.name for endpoint in plan.removed] == ["old"]
    assert (len(plan.unchanged), plan.left) == (1, 0)


@every_option
def test_option_is_changed_and_goes_back_to_its_default(option: Option) -> None:
    value = another_value(option)
    manifest = till(f"{option.name} = {toml_value(value)}") if option.name != "url" else till(url=value)
    before = stored(secret=None) if option.name == "url" else stored()
    change = only_change(make_plan(manifest, [before], new_secrets=True))
    assert change.options == (option.name,)
    assert change.stored[option.name] == value
    if option.name == "url":
        return
    back = only_change(make_plan(till(), [stored(**{option.name: value})]))
    assert back.options == (option.name,)
    assert back.stored[option.name] == DEFAULT_VALUES[option.name]


SECRETS = {
    "url": f"{URL}?key={MARK}",
    "headers": [f"x-api-key: {MARK}", f"Authorization: Bearer {MARK}"],
    "proxy": f"http://user:{MARK}@proxy.example:3128",
}


@every_option
@pytest.mark.parametrize("written", [as_toml, json.dumps])
def test_what_is_exported_changes_nothing_and_has_no_secret(option: Option, written: Callable[[Any], str]) -> None:
    value = SECRETS.get(option.name, another_value(option))
    before = stored(**{option.name: value})
    text = written(as_manifest([before]))
    assert option.name in text
    assert MARK not in text
    assert SECRET not in text
    plan = make_plan(declared(text), [before])
    assert plan.is_empty
    assert plan.faults == ()
    assert len(plan.unchanged) == 1


TEXTS = st.text(max_size=20)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "url": TEXTS.map("https://till.example/{}".format),
    "headers": st.lists(st.tuples(st.sampled_from("abcd"), TEXTS | st.just("***"))).map(
        lambda headers: [f"{name}: {value}" for name, value in headers]
    ),
    "only": st.lists(st.tuples(TEXTS, TEXTS).map("=".join), max_size=3),
    "proxy": TEXTS.map("http://{}@proxy.example".format) | TEXTS.map("{}proxy.example:1".format),
    "ca_file": TEXTS.map("/{}".format),
    "max_per_second": st.floats(0, 10_000, exclude_min=True),
}


@given(st.fixed_dictionaries(VALUES))
def test_whatever_can_be_stored_is_exported_and_taken_back(values: dict[str, Any]) -> None:
    usable = {}
    for name, each in values.items():
        with suppress(UnusableOption):
            usable[name] = stored_value(DECLARED[name], each)
    before = stored(**usable)
    exported = as_manifest([before])
    for text in (as_toml(exported), json.dumps(exported, indent=1), json.dumps(exported, ensure_ascii=False)):
        assert make_plan(declared(text), [before]).unchanged == (before,)
        assert lines_in(text).keys() == {
            ("endpoints",),
            ("endpoints", "till"),
            *(("endpoints", "till", key) for key in exported["endpoints"]["till"]),
        }


def test_every_option_that_is_not_sent_back_can_be_concealed() -> None:
    concealed = {name for name, option in DECLARED.items() if option.conceal is not None}
    assert concealed == {name for name, option in DECLARED.items() if not option.sent_back} == SECRETS.keys()


def test_export_has_what_differs_from_the_defaults_only_and_a_stable_order() -> None:
    assert as_manifest([stored()]) == {"endpoints": {"till": {"url": URL}}}
    assert as_manifest([stored(secret=None)]) == {"endpoints": {"till": {"url": URL, "signed": False}}}
    text = as_toml(as_manifest([stored(), stored("bar", max_in_flight=3, only=["a=b"], timeout_seconds=2.5)]))
    assert list(tomllib.loads(text)["endpoints"].items()) == [
        ("till", {"url": URL}),
        ("bar", {"url": URL, "max_in_flight": 3, "only": ["a=b"], "timeout_seconds": 2.5}),
    ]
    assert declared(as_toml(as_manifest([]))).endpoints == {}


@pytest.mark.parametrize(
    ("line", "url"),
    [
        ('headers = ["x-b: ***"]', URL),
        ('headers = ["x-a: ***", "x-b: ***"]', URL),
        ('proxy = "http://***@other.example:3128"', URL),
        ("", f"{URL}/other?***"),
    ],
)
def test_mark_that_stands_for_nothing_is_a_fault(line: str, url: str) -> None:
    proxy = f"http://u:{MARK}@proxy.example:3128"
    before = stored(headers=[f"x-a: {MARK}"], proxy=proxy, url=f"{URL}?{MARK}")
    for existing in ([], [before]):
        fault = make_plan(till(line, url), existing).faults[-1]
        assert "has ***, and nothing is stored that it could stand for" in fault.problem
        assert MARK not in str(fault)


@pytest.mark.parametrize(
    ("line", "url", "fault"),
    [
        ('headers = ["x-a: Bearer ***"]', URL, "write x-a: ***"),
        ('headers = ["x-a: ***abc"]', URL, "write x-a: ***"),
        ('proxy = "http://u:***@proxy.example:3128"', URL, "write http://***@proxy.example:3128"),
        ("", f"{URL}?key=***", f"write {URL}?***"),
    ],
)
def test_mark_that_stands_for_a_part_is_a_fault(line: str, url: str, fault: str) -> None:
    before = stored(headers=[f"x-a: Bearer {MARK}"], proxy=f"http://u:{MARK}@proxy.example:3128", url=f"{URL}?{MARK}")
    last = make_plan(till(line, url), [before]).faults[-1]
    assert last.problem.endswith(f"has *** in a part of what it stands for; {fault}")
    assert "abc" not in last.problem


def test_one_header_is_changed_and_the_other_kept() -> None:
    before = stored(headers=[f"x-a: {MARK}", "x-b: old"])
    change = only_change(make_plan(till('headers = ["x-a: ***", "x-b: new"]'), [before]))
    assert change.stored["headers"] == [f"x-a: {MARK}", "x-b: new"]
    assert list(change.shown()) == [("headers", ["x-a: ***", "x-b: ***"], ["x-a: ***", "x-b: ***"], True)]
    assert MARK not in repr(change)
    without = only_change(make_plan(till('headers = ["x-b: other"]'), [before]))
    assert list(without.shown()) == [("headers", ["x-a: ***", "x-b: ***"], ["x-b: ***"], True)]
    kept = only_change(make_plan(till('headers = ["x-b: ***"]'), [before]))
    assert list(kept.shown()) == [("headers", ["x-a: ***", "x-b: ***"], ["x-b: ***"], False)]


def test_url_and_proxy_in_full_are_what_is_stored_or_replace_it() -> None:
    before = stored(url=f"{URL}?key={MARK}", proxy=f"http://u:{MARK}@proxy.example:3128")
    same = till(f'proxy = "http://u:{MARK}@proxy.example:3128"', f"{URL}?key={MARK}")
    assert make_plan(same, [before]).is_empty
    without = only_change(make_plan(till('proxy = "http://proxy.example:3128"'), [before]))
    assert without.options == ("url", "proxy")
    assert (without.stored["url"], without.stored["proxy"]) == (URL, "http://proxy.example:3128")


def test_what_psql_wrote_in_another_way_is_no_difference() -> None:
    before = stored(headers=["x-a:1"], only=['room_name="Bar"'])
    assert make_plan(till('headers = ["x-a: 1"]\nonly = ["room_name=Bar"]'), [before]).is_empty


@pytest.mark.parametrize("url", ["https://other.example/", "https://till.example:8443/reservations"])
def test_headers_and_secret_stay_with_their_server(url: str) -> None:
    before = stored(headers=["x-a: 1"])
    (fault,) = make_plan(till('headers = ["x-a: ***"]', url), [before]).faults
    assert "url leads to another server, and headers and signing secret of the one before" in fault.problem
    (fault,) = make_plan(till('headers = ["x-a: 2"]', url), [before]).faults
    assert "server, and signing secret of the one before" in fault.problem
    (fault,) = make_plan(till('headers = ["x-a: ***"]', url), [before], new_secrets=True).faults
    assert "server, and headers of the one before" in fault.problem
    kept = only_change(make_plan(till('headers = ["x-a: ***"]', url), [before], keep_headers=True))
    assert (kept.options, kept.secret, kept.stored["headers"]) == (("url",), None, ["x-a: 1"])
    new = only_change(make_plan(till("", url), [before], new_secrets=True))
    assert (new.options, new.secret) == (("url", "headers"), SecretChange())
    unsigned = only_change(make_plan(till("signed = false", url), [before]))
    assert unsigned.secret == SecretChange(signed=False)


def test_url_of_the_same_server_keeps_headers_and_secret() -> None:
    change = only_change(make_plan(till('headers = ["x-a: ***"]', f"{URL}/v2"), [stored(headers=["x-a: 1"])]))
    assert (change.options, change.secret) == (("url",), None)


def test_signing_secret_is_made_given_or_removed() -> None:
    given = declared(f'[endpoints.till]\nurl = "{URL}"\nsecret_file = "/x"', secret=OTHER)
    unsigned = till("signed = false")
    assert only_change(make_plan(till(), [stored(secret=None)])).secret == SecretChange()
    assert make_plan(given, [stored(secret=OTHER)]).is_empty
    assert only_change(make_plan(given, [stored()])).secret == SecretChange(OTHER, overlap=True)
    assert only_change(make_plan(given, [stored(secret=None)])).secret == SecretChange(OTHER)
    assert only_change(make_plan(unsigned, [stored()])).secret == SecretChange(signed=False)
    assert make_plan(unsigned, [stored(secret=None)]).is_empty
    moved = declared('[endpoints.till]\nurl = "https://other.example"\nsecret_file = "/x"', secret=OTHER)
    assert only_change(make_plan(moved, [stored()])).secret == SecretChange(OTHER)
    again = declared('[endpoints.till]\nurl = "https://other.example"\nsecret_file = "/x"', secret=SECRET)
    assert only_change(make_plan(again, [stored()])).secret == SecretChange(SECRET)
    (fault,) = make_plan(given, [replace(stored(), rotating=True)]).faults
    assert "rotation is in progress" in fault.problem


def test_endpoint_of_the_settings_is_a_fault_whatever_its_name() -> None:
    (fault,) = make_plan(till(), [stored(in_settings=True)]).faults
    assert "declared in a daemon's settings" in fault.problem


def test_new_name_for_the_same_url_and_conditions_is_noticed() -> None:
    text = 'only = ["room_name=Bar"]'
    old = stored("old", only=["room_name=Bar"])
    for prune in (False, True):
        assert make_plan(till(text), [old], prune=prune).renamed == (("old", "till"),)
    assert make_plan(till(), [old]).renamed == ()
    assert make_plan(till(text, "https://other.example"), [old]).renamed == ()
    assert make_plan(till(text), [old, stored(only=["room_name=Bar"])]).renamed == ()


def test_secrets_are_in_no_representation() -> None:
    manifest = till(f'headers = ["x-a: {MARK}"]\nproxy = "http://u:{MARK}@p:1"', f"{URL}?{MARK}")
    plan = make_plan(manifest, [stored(headers=[f"x-b: {MARK}"], url=f"{URL}?2{MARK}")])
    assert MARK not in f"{manifest!r}{plan!r}"
    assert SECRET not in repr(plan)
