from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cdc_bridge.checks.endpoints import check_declared_endpoint
from cdc_bridge.checks.verdict import Verdict
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import SettingsError
from cdc_bridge.model import Events
from cdc_bridge.payload.subscription import Condition, Subscription
from cdc_bridge.settings import ExposedFile, Settings
from cdc_bridge.settings_sources import load_settings
from tests.support.certificates import Certificates

URL = "https://till.example/reservations"
SECRET = "whsec_" + b64encode(b"s" * 32).decode()
MARK = "UNMISTAKABLE"


@pytest.fixture(autouse=True)
def enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_BRIDGE_DATABASE_URL", "postgresql://cdc_bridge@localhost/eres")
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_URL", URL)


def problem(monkeypatch: pytest.MonkeyPatch, **settings: str) -> str:
    """Return what is said of wrong settings."""
    for name, value in settings.items():
        monkeypatch.setenv(f"CDC_BRIDGE_{name.upper()}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings().endpoint()
    assert caught.value.exit_code == 78
    return str(caught.value)


def declared(config_file: Path | None = None) -> Endpoint:
    endpoint = load_settings(config_file=config_file).endpoint()
    assert endpoint is not None
    return endpoint


def test_two_settings_are_enough() -> None:
    endpoint = declared()
    assert (endpoint.name, endpoint.url, endpoint.max_in_flight) == ("default", URL, 16)


def test_no_endpoint_need_be_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CDC_BRIDGE_ENDPOINT_URL")
    assert load_settings().endpoint() is None


def test_endpoint_without_its_url_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CDC_BRIDGE_ENDPOINT_URL")
    told = problem(monkeypatch, endpoint_header="x: y")
    assert told.startswith("CDC_BRIDGE_ENDPOINT_URL is not set, but CDC_BRIDGE_ENDPOINT_HEADER is")


EXPOSED = [
    (f'endpoint_secret = "{SECRET}"', ["endpoint_secret"]),
    ('endpoint_header = ["x-api-key: a"]', ["endpoint_header"]),
    (f'web_token = "{"t" * 24}"\nweb_api_token = "{"v" * 24}"', ["web_token", "web_api_token"]),
    ('database_url = "postgresql://u:p@localhost/d"', ["database_url"]),
    ('database_url = "host=localhost password=p"', ["database_url"]),
    ('alert_url = "https://chat.example/hooks/x"', ["alert_url"]),
    (f'endpoint_url = "{URL}?key=a"', ["endpoint_url"]),
    ('endpoint_proxy = "user:password@proxy:3128"', ["endpoint_proxy"]),
    ('endpoint_proxy = "http://proxy:3128"', []),
    (f'database_url = "postgresql://u@localhost/d"\nendpoint_url = "{URL}"\nbatch_size = 7\nweb_token = ""', []),
]


@pytest.mark.parametrize(("text", "names"), EXPOSED)
def test_secret_in_a_file_that_others_read_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, names: list[str]
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    file.chmod(0o644)
    if "web_token" in text:
        monkeypatch.setenv("CDC_BRIDGE_WEB_PORT", "0")
    assert load_settings(config_file=file).exposed == ((ExposedFile(file, names),) if names else ())
    file.chmod(0o600)
    assert load_settings(config_file=file).exposed == ()


def test_credential_that_others_read_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    secret, port = tmp_path / "cdc_bridge_endpoint_secret", tmp_path / "cdc_bridge_web_port"
    secret.write_text(SECRET)
    port.write_text("0")
    for path in (secret, port):
        path.chmod(0o644)
    assert load_settings().exposed == (ExposedFile(secret, ["endpoint_secret"]),)
    secret.chmod(0o600)
    assert load_settings().exposed == ()


def test_flags_go_before_environment_before_credentials_before_file_before_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ["batch_size", "poll_interval_seconds", "retention_days", "max_lag_seconds"]
    file, credentials = tmp_path / "config.toml", tmp_path / "credentials"
    credentials.mkdir()
    file.write_text("".join(f"{name} = 1\n" for name in names))
    for name in names[:3]:
        (credentials / f"cdc_bridge_{name}").write_text("2\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    for name in names[:2]:
        monkeypatch.setenv(f"CDC_BRIDGE_{name.upper()}", "3")
    settings = load_settings({names[0]: 4, "wake": None}, file)
    assert [getattr(settings, name) for name in names] == [4, 3, 2, 1]
    assert settings.lease_seconds == 15


def test_credentials_hold_secrets_with_a_line_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cdc_bridge_endpoint_secret").write_text(SECRET + "\n")
    (tmp_path / "cdc_bridge_endpoint_header").write_text("authorization: Bearer abc\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    endpoint = declared()
    assert endpoint.secret == b"s" * 32
    assert endpoint.headers == (("authorization", "Bearer abc"),)


def test_file_may_list_several_headers(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('endpoint_header = ["X-One: 1", "X-Two:  b:c "]\n')
    assert declared(file).headers == (("X-One", "1"), ("X-Two", "b:c"))


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ('"room_name=Bar,Terrace"', (Condition("room_name", ("Bar", "Terrace")),)),
        (
            "['room_name=\"Bar, Terrace\"', 'adults=2']",
            (Condition("room_name", ("Bar, Terrace",)), Condition("adults", ("2",))),
        ),
        ("[]", ()),
    ],
)
def test_file_says_what_the_endpoint_gets(text: str, conditions: tuple[Condition, ...], tmp_path: Path) -> None:
    (file := tmp_path / "config.toml").write_text(
        f'endpoint_only = {text}\nendpoint_payload = "kitchen"\n'
        'endpoint_events = "created"\nendpoint_skip_unchanged = true\n'
    )
    endpoint = declared(file)
    assert endpoint.subscription == Subscription("kitchen", conditions)
    assert (endpoint.events, endpoint.skip_unchanged) == (Events.CREATED, True)


def test_environment_says_what_the_endpoint_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_ONLY", "room_name=Bar,Terrace")
    assert declared().only == (Condition("room_name", ("Bar", "Terrace")),)
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_ONLY", '["room_name=Bar,Terrace", "adults=2"]')
    assert declared().only == (Condition("room_name", ("Bar", "Terrace")), Condition("adults", ("2",)))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("only", "room_name", "has to be COLUMN=VALUE"),
        ("only", 'room_name="Bar', "has a double quote out of place"),
        ("only", '["room_name"]', "has to be COLUMN=VALUE"),
        ("payload", "Kitchen", "has to be the name of a payload definition"),
        ("events", "deleted", "'both', 'created' or 'updated'"),
        ("skip_unchanged", "perhaps", "true or false"),
    ],
)
def test_what_the_endpoint_cannot_get_is_told(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = problem(monkeypatch, **{f"endpoint_{name}": value})
    assert told.startswith(f"CDC_BRIDGE_ENDPOINT_{name.upper()} ")
    assert words in told


def test_file_is_also_found_by_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (file := tmp_path / "config.toml").write_text("batch_size = 7\n")
    monkeypatch.setenv("CDC_BRIDGE_CONFIG", str(file))
    assert load_settings().batch_size == 7


def test_unknown_name_in_the_environment_is_told_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    told = problem(monkeypatch, endpoint_heder="x: y")
    assert told == "CDC_BRIDGE_ENDPOINT_HEDER is not a setting; did you mean CDC_BRIDGE_ENDPOINT_HEADER?"


def test_unknown_name_in_the_file_is_told_with_the_nearest(tmp_path: Path) -> None:
    (file := tmp_path / "config.toml").write_text("batchsize = 7\n")
    with pytest.raises(SettingsError, match=r"batchsize in .* is not a setting; did you mean batch_size\?"):
        load_settings(config_file=file)


@pytest.mark.parametrize(
    ("content", "words"), [(b"batch_size = ", "is not TOML"), (b"\xff\xfe", "cannot be read"), (None, "does not exist")]
)
def test_file_that_cannot_be_used_is_said(content: bytes | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=words):
        load_settings(config_file=file)


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CDC_BRIDGE_DATABASE_URL")
    told = problem(monkeypatch, batch_size="0", wake="sometimes", endpoint_secret="x", nonsense="y").splitlines()
    named = {line.split()[0].removeprefix("CDC_BRIDGE_") for line in told}
    assert named == {"NONSENSE", "DATABASE_URL", "ENDPOINT_SECRET", "BATCH_SIZE", "WAKE"}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (f"x-token: {MARK}\r\nx-other: 1", "control character"),
        (f"x-token: {MARK}\n", "control character"),
        (f"x-token: {MARK}\0", "control character"),
        (f"x-token: {MARK}ü", "beyond ASCII"),
        (f"{MARK}", 'has to be "Name: value"'),
        (f"bad name: {MARK}", 'has to be "Name: value"'),
        (f": {MARK}", 'has to be "Name: value"'),
        (f"Connection: {MARK}", "sets Connection"),
        (f"Transfer-Encoding: {MARK}", "sets Transfer-Encoding"),
        (f"Host: {MARK}", "sets Host"),
        (f"Content-Length: {MARK}", "sets Content-Length"),
        (f"Content-Type: {MARK}", "sets Content-Type"),
        (f"Webhook-Id: {MARK}", "sets Webhook-Id"),
        (f"ce-type: {MARK}", "sets ce-type"),
    ],
)
def test_header_that_would_break_the_request_is_refused(
    header: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (file := tmp_path / "config.toml").write_text(f"endpoint_header = {json.dumps(header)}\n")
    monkeypatch.setenv("CDC_BRIDGE_CONFIG", str(file))
    told = problem(monkeypatch)
    assert told.startswith(f"endpoint_header in {file} ")
    assert words in told
    assert MARK not in told


def test_same_header_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (file := tmp_path / "config.toml").write_text('endpoint_header = ["X-One: 1", "x-one: 2"]\n')
    monkeypatch.setenv("CDC_BRIDGE_CONFIG", str(file))
    assert "has the same header twice" in problem(monkeypatch)


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (MARK, "begin with whsec_"),
        (f"whsec_{MARK}!", "base64"),
        ("whsec_" + b64encode(b"s" * 23).decode(), "24 to 64 bytes, not 23"),
        ("whsec_" + b64encode(b"s" * 65).decode(), "24 to 64 bytes, not 65"),
    ],
)
def test_bad_secret_is_refused_without_being_shown(secret: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = problem(monkeypatch, endpoint_secret=secret)
    assert words in told
    assert secret not in told


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://till.example/x", "begin with https://"),
        ("ftp://till.example/x", "begin with https://"),
        ("till.example/x", "begin with https://"),
        ("https:///x", "names no host"),
        ("https://[::1", "is not a URL"),
        ("https://till.example:99999/x", "is not a URL"),
        ("https://till.example:0/x", "has port 0"),
        ("https://127.1/", "four numbers"),
        ("https://2130706433/", "four numbers"),
        ("https://0x7f.0.0.1/", "four numbers"),
        ("https://0177.0.0.1/", "four numbers"),
        ("https://127.0.0.1./", "four numbers"),
        ("https://till.0x1/", "four numbers"),
        ("https://1.2.3.256/", "four numbers"),
        ("https://till..example/", "host"),
        ("https://.till.example/", "host"),
        (f"https://{'t' * 64}.example/", "host"),
        (f"https://{'till.' * 51}example/", "host"),
        ("https://till,example/", "host"),
        ("https://till%2eexample/", "host"),
        (f"https://user:{MARK}@till.example/x", "into a header of the endpoint"),
        ("https://till.example/x#part", "fragment"),
        ("https://till.example/x#", "fragment"),
    ],
)
def test_bad_url_is_refused(url: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = problem(monkeypatch, endpoint_url=url)
    assert told.startswith("CDC_BRIDGE_ENDPOINT_URL ")
    assert words in told
    assert MARK not in told


@pytest.mark.parametrize(
    "host",
    [
        "till.example.",
        "t\u00efll.example",
        "TILL_1.example",
        "xn--tll-zma.example",
        "3com.example",
        "1.2.3.4",
        "1.2.3.4.in-addr.arpa",
        "[2001:db8::1]",
    ],
)
def test_host_that_can_be_resolved_is_admitted(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_URL", f"https://{host}/x")
    assert declared().url == f"https://{host}/x"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]", "till.localhost"])
def test_plain_http_is_admitted_to_this_machine_when_asked_for(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_BRIDGE_ALLOW_HTTP", "true")
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_URL", f"http://{host}:8080/x")
    assert declared().url == f"http://{host}:8080/x"


@pytest.mark.parametrize("host", ["till.example", "192.168.1.5", "localhost.example"])
def test_plain_http_to_elsewhere_is_never_admitted(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "this machine only" in problem(monkeypatch, allow_http="true", endpoint_url=f"http://{host}/x")


def test_ca_file_has_to_hold_a_certificate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, certificates: Certificates
) -> None:
    assert "cannot be read" in problem(monkeypatch, endpoint_ca_file=str(tmp_path / "nothing.pem"))
    (tmp_path / "empty.pem").write_text("no certificate")
    assert "holds no PEM certificate" in problem(monkeypatch, endpoint_ca_file=str(tmp_path / "empty.pem"))
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_CA_FILE", str(certificates.ca_file))
    assert declared().ca_file == certificates.ca_file


def test_previous_secret_signs_as_well_for_as_long_as_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    previous = "whsec_" + b64encode(b"p" * 32).decode()
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_SECRET", SECRET)
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_PREVIOUS_SECRET", previous)
    assert declared().secrets_at(datetime(9000, 1, 1, tzinfo=UTC)) == (b"s" * 32, b"p" * 32)
    told = check_declared_endpoint(load_settings())
    assert told.verdict is Verdict.OK
    assert "a rotation is in progress" in told.detail
    assert previous not in repr(load_settings()) + repr(declared()) + told.detail
    monkeypatch.delenv("CDC_BRIDGE_ENDPOINT_PREVIOUS_SECRET")
    assert "rotation" not in check_declared_endpoint(load_settings()).detail


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"endpoint_previous_secret": SECRET},
            "CDC_BRIDGE_ENDPOINT_PREVIOUS_SECRET is set, but CDC_BRIDGE_ENDPOINT_SECRET",
        ),
        ({"endpoint_previous_secret": SECRET, "endpoint_secret": SECRET}, "are the same"),
        ({"endpoint_previous_secret": MARK, "endpoint_secret": SECRET}, "PREVIOUS_SECRET has to begin with whsec_"),
    ],
)
def test_previous_secret_that_makes_no_sense_is_rejected_without_being_shown(
    settings: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = problem(monkeypatch, **settings)
    assert words in told
    assert [secret for secret in settings.values() if secret in told] == []


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_BRIDGE_DATABASE_URL", f"postgresql://cdc_bridge:{MARK}@localhost/eres")
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_HEADER", f"authorization: {MARK}")
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_SECRET", SECRET)
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_PROXY", f"http://user:{MARK}@proxy:3128")
    settings = load_settings()
    assert MARK not in f"{settings!r} {settings} {settings.endpoint()!r}"
    monkeypatch.delenv("CDC_BRIDGE_ENDPOINT_PROXY")
    settings = load_settings()
    shown = f"{settings!r} {settings} {settings.endpoint()!r} {settings.model_dump()!r} {settings.model_dump_json()}"
    assert MARK not in shown
    assert SECRET not in shown
    assert "b'ssss" not in shown


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://bridge.example", "https://bridge.example"),
        (" https://Bridge.Example:8443/ ", "https://bridge.example:8443"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://localhost:9187", "http://localhost:9187"),
        ("http://127.0.0.1:9187/", "http://127.0.0.1:9187"),
    ],
)
def test_url_of_the_dashboard_is_brought_into_one_form(given: str, used: str) -> None:
    assert load_settings({"web_url": given}).web_url == used


@pytest.mark.parametrize(
    "given",
    ["bridge.example", "http://bridge.example", "ftp://bridge.example", "https://", "https://user@bridge.example",
     "https://bridge.example/portal", "https://bridge.example?x", "https://bridge.example#x", "https://bridge.example:x",
     "https://a b", "https://bridge.example\nx", "https://[x]", "javascript:alert(1)"],
)  # fmt: skip
def test_url_that_no_link_can_begin_with_is_refused(given: str) -> None:
    with pytest.raises(SettingsError, match="--web-url has to be https://"):
        load_settings({"web_url": given})
