"""Every option of an endpoint is on every surface. What takes a database is in tests/integration/endpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cdc_bridge.capture.position import Position, Snapshot
from cdc_bridge.cli.endpoint_report import print_endpoint
from cdc_bridge.endpoints import options as declaration
from cdc_bridge.endpoints.details import Count, EndpointFigures, EndpointRecord, ShownEndpoint
from cdc_bridge.endpoints.endpoint_json import endpoint_as_json
from cdc_bridge.endpoints.option import Kind, Option, Setter
from cdc_bridge.endpoints.options import OPTIONS, Endpoint, endpoint_from, options_for
from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.model import EndpointId, SkipReason
from cdc_bridge.packaging.settings_example import settings_example
from cdc_bridge.runtime.assignment import plan
from cdc_bridge.settings import PREFIX, Settings
from cdc_bridge.settings_sources import CREDENTIALS_FOLDER
from cdc_bridge.web.api.fields import read_fields
from cdc_bridge.web.api.json_text import json_of
from cdc_bridge.web.api.routes import OPERATIONS
from cdc_bridge.web.api.schemas import COMPONENTS
from cdc_bridge.web.endpoint_form import FIELDS, EndpointForm
from cdc_bridge.web.notices import LABELS
from cdc_bridge.web.rendering import _ENVIRONMENT
from tests.support.man_page import PAGE
from tests.support.man_page import command as command_named
from tests.support.options import NOON, another_value, typed
from tests.support.overviews import endpoint_overview

URL = {"url": "https://till.example"}
MAN_PAGE = PAGE.read_text(encoding="utf-8").replace("\\-", "-")
OF_OPERATOR, OF_SETTINGS = options_for(Setter.OPERATOR), options_for(Setter.SETTINGS)
SHOWN = [option for option in OPTIONS.values() if option.json_key is not None]


def name_of(option: Option) -> str:
    return option.name


every_option = pytest.mark.parametrize("option", OPTIONS.values(), ids=name_of)
every_shown_option = pytest.mark.parametrize("option", SHOWN, ids=name_of)
every_option_of_operator = pytest.mark.parametrize("option", OF_OPERATOR, ids=name_of)
every_option_of_settings = pytest.mark.parametrize("option", OF_SETTINGS, ids=name_of)


@pytest.fixture(autouse=True)
def files_are_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in files is another test's business."""
    monkeypatch.setattr(declaration, "check_client_certificate", lambda *_: None)
    monkeypatch.setattr("cdc_bridge.endpoints.option_values.ssl.SSLContext.load_verify_locations", lambda *_: None)
    monkeypatch.setattr("cdc_bridge.endpoints.option_values._digest_of", lambda _: b"")


def shown_endpoint(*, in_settings: bool = False) -> ShownEndpoint:
    of_secrets = {"header_names": ["x-a"], "signed": True, "rotating_until": NOON}
    record = EndpointRecord(
        options={str(option.json_key): another_value(option) for option in SHOWN} | of_secrets,
        position=Position(Snapshot.parse("1:1:"), None),
        created_at=NOON, reconciled_at=None, reconciled_missing=None, reconciled_stale=None,
        skipped=dict.fromkeys(SkipReason, 0), revision="",
    )  # fmt: skip
    none = Count(0)
    return ShownEndpoint(endpoint_overview(in_settings=in_settings), record, EndpointFigures(none, none, none, none))


@every_option
def test_label_and_help_are_phrases(option: Option) -> None:
    assert option.label[0].isupper()
    assert option.help[0].isupper() or option.help.startswith("whsec_")
    assert not (option.label + option.help).endswith(".")


@every_option
def test_endpoint_has_its_value_and_a_change_of_it_is_noticed(option: Option) -> None:
    before, changed = URL, URL | {option.name: another_value(option)}
    endpoint = endpoint_from("till", changed, allow_http=False)
    default = endpoint_from("till", before, allow_http=False)
    assert getattr(endpoint, option.name) != getattr(default, option.name)
    listed = ListedEndpoint(
        endpoint_id=EndpointId(1), name="till", in_settings=False, paused=False, disabled=False, same_cluster=True,
        resumed_at=None, row=dict.fromkeys(OPTIONS) | changed,
    )  # fmt: skip
    assert plan([listed], (), {EndpointId(1): default}, lambda _: endpoint, {}, alone=True).stop == {1}
    assert plan([listed], (), {EndpointId(1): endpoint}, lambda _: endpoint, {}, alone=True).stop == set()


@every_option
def test_secret_stays_out_of_what_is_printed_and_stored_for_the_settings(option: Option) -> None:
    endpoint = endpoint_from("till", URL | {option.name: another_value(option)}, allow_http=False)
    if option.secret:
        assert f" {option.name}=" not in repr(endpoint)
    assert (option.name in endpoint.storable()) is not option.secret


def test_files_are_all_that_it_names() -> None:
    files = {option.name: another_value(option) for option in OPTIONS.values() if option.kind is Kind.FILE}
    assert endpoint_from("till", URL | files, allow_http=False).files == tuple(map(Path, files.values()))


@every_option_of_settings
def test_setting(option: Option) -> None:
    field = Settings.model_fields[option.setting]
    assert option.variable == f"{PREFIX}{option.setting.upper()}"
    without_repetition = option.description.removesuffix("; can be given more than once")
    assert (field.description or "").startswith(without_repetition)
    assert ("several as a list" in (field.description or "")) is (option.kind is Kind.LINES)
    assert field.default == option.default


@every_option_of_settings
def test_endpoint_of_the_settings_has_its_value(option: Option, monkeypatch: pytest.MonkeyPatch) -> None:
    value = another_value(option)
    monkeypatch.setenv("CDC_BRIDGE_DATABASE_URL", "host=localhost")
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_URL", URL["url"])
    monkeypatch.setenv(option.variable, value[0] if isinstance(value, list) else str(value))
    beside = {}
    if option.name == "previous_secret":  # It makes no sense alone.
        beside = {"secret": another_value(OPTIONS["secret"])}
        monkeypatch.setenv(OPTIONS["secret"].variable, beside["secret"])
    expected = endpoint_from("default", URL | beside | {option.name: value}, allow_http=False)
    assert Settings().endpoint() == expected  # type: ignore[call-arg]  # it comes from the environment


def test_no_setting_of_the_endpoint_is_without_its_option() -> None:
    settings = {name for name in Settings.model_fields if name.startswith("endpoint_")}
    assert settings == {option.setting for option in OF_SETTINGS} | {"endpoint_start"}


@every_option_of_settings
def test_settings_example_and_man_page_have_the_setting(option: Option) -> None:
    secret = f"\n# A secret; its file: {CREDENTIALS_FOLDER / option.setting}\n"
    assert (secret if option.secret else f"\n#{option.setting} = ") in settings_example()
    assert f".B {option.variable}\n" in MAN_PAGE


def parameters_of(command: str) -> dict[str, Any]:
    return {parameter.name: parameter for parameter in command_named("endpoint", command).params}


@pytest.mark.parametrize("command", ["add", "set"])
@every_option_of_operator
def test_flag(option: Option, command: str) -> None:
    parameter = parameters_of(command)[option.name]
    assert option.description in parameter.help
    if command == "add" and option.required:
        assert parameter.param_type_name == "argument"
        return
    assert parameter.opts == [option.flag]
    assert parameter.secondary_opts == ([option.off] if option.kind is Kind.SWITCH else [])
    section = MAN_PAGE.partition(f".SS cdc-bridge endpoint {command}")[2].partition(".SS ")[0]
    assert f'.BI "{option.flag}' in section


@pytest.mark.parametrize("command", ["add", "set"])
def test_there_is_no_flag_for_what_an_operator_may_not_set(command: str) -> None:
    others = OPTIONS.keys() - {option.name for option in OF_OPERATOR}
    assert not others & parameters_of(command).keys()


@pytest.mark.parametrize("shown", [None, shown_endpoint()], ids=["new", "change"])
@every_option_of_operator
def test_form_has_its_field_and_gives_what_is_typed_into_it(option: Option, shown: ShownEndpoint | None) -> None:
    form = EndpointForm.empty() if shown is None else EndpointForm.of(shown.record)
    html = _ENVIRONMENT.get_template("endpoint_form.html").render(
        title="", form=form, options=FIELDS, shown=shown, errors=[], path="", session=None, portal=None,
        may_change=True, form_token="", notices=[], problems=(), now=NOON,
    )  # fmt: skip
    assert f'id="{option.name}" name="{option.name}"' in html
    assert f'<label for="{option.name}">{option.label}</label>' in html
    value = another_value(option)
    sent = EndpointForm.sent({**EndpointForm.empty().typed, **URL, option.name: typed(value)})
    assert sent.given()[option.name] == (tuple(value) if isinstance(value, list) else value)
    assert LABELS[option.singular or option.name]


@pytest.mark.parametrize("option", [option for option in OF_OPERATOR if option.optional], ids=name_of)
def test_emptied_field_removes_the_value_and_one_that_was_empty_changes_nothing(option: Option) -> None:
    before = shown_endpoint().record
    # The field of what may hold a secret is empty in any case; a check box removes it.
    how = {option.name: ""} if option.sent_back else {f"drop_{option.name}": "on"}
    emptied = EndpointForm.sent({**EndpointForm.of(before).typed, **how})
    assert emptied.given(before) == {option.name: ""}
    without = replace(before, options={**before.options, option.name: None})
    assert option.name not in EndpointForm.sent(EndpointForm.of(without).typed).given(without)


@every_shown_option
def test_show_and_json_have_it(option: Option, capsys: pytest.CaptureFixture[str]) -> None:
    shown = shown_endpoint()
    assert dict(shown.option_lines(UTC))[option.label]
    print_endpoint(shown)
    assert f"\n{option.label} " in capsys.readouterr().out
    assert option.json_key in endpoint_as_json(shown)


@pytest.mark.parametrize("operation", ["addEndpoint", "changeEndpoint"])
@every_option_of_operator
def test_api_takes_it_and_its_document_describes_it(option: Option, operation: str) -> None:
    (fields,) = (each.body for each in OPERATIONS if each.name == operation)
    value = another_value(option)
    assert read_fields({option.name: value}, fields or ()).options == {option.name: value}
    (described,) = (each for each in fields or () if each.name == option.name)
    assert described.description == f"{option.description}."
    schema = Draft202012Validator(dict(described.schema))
    assert schema.is_valid(value)
    assert not schema.is_valid({})
    assert schema.is_valid(None) is (option.optional or option.kind is Kind.LINES)
    for limit in (option.above, option.maximum and option.maximum * 2):
        assert limit is None or not schema.is_valid(limit)


@every_shown_option
def test_api_shows_it_as_its_document_says(option: Option) -> None:
    schema = {**COMPONENTS["Endpoint"], "components": {"schemas": dict(COMPONENTS)}}
    assert option.json_key in schema["properties"]
    for shown in (shown_endpoint(), shown_endpoint(in_settings=True)):
        body = json.loads(json_of(endpoint_as_json(shown) | {"revision": None}))
        assert Draft202012Validator(schema).is_valid(body)
        assert not Draft202012Validator(schema).is_valid(body | {str(option.json_key): {}})


@every_shown_option
def test_what_stands_in_the_settings_is_not_shown_as_if_it_were_not_set(option: Option) -> None:
    shown = shown_endpoint(in_settings=True)
    if option.secret:
        assert dict(shown.option_lines(UTC))[option.label] == "in the settings"
        assert endpoint_as_json(shown)[str(option.json_key)] is None
    else:
        assert endpoint_as_json(shown)[str(option.json_key)] is not None


def test_default_of_an_endpoint_is_that_of_its_options() -> None:
    endpoint = Endpoint(name="till", url=URL["url"])
    assert [
        name for name, option in OPTIONS.items() if name != "url" and getattr(endpoint, name) != option.default
    ] == []
