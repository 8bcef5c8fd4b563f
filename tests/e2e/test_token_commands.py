"""Named tokens, by their commands, on the dashboard and for the HTTP API of a running daemon."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.api import ApiClient
from tests.support.bridge import Bridge, Bridges, run_command
from tests.support.databases import Database
from tests.support.page import TOKEN, Visitor
from tests.support.proxy import Proxy
from tests.support.waiting import until, until_it

PRINTED = re.compile(r"^    (cdcb_[\w-]{43})$", re.MULTILINE)


class TokenCommands:
    """Runs ``cdc-bridge token``."""

    def __init__(self, database: Database) -> None:
        self._settings = {"CDC_BRIDGE_DATABASE_URL": database.bridge_url}

    async def run(self, *arguments: str, code: int = 0) -> str:
        ended, output, errors = await run_command("token", *arguments, **self._settings)
        assert ended == code, output + errors
        return output + errors

    async def add(self, name: str, right: str, *more: str) -> str:
        """Add one; return its text."""
        output = await self.run("add", name, "--right", right, *more)
        (token,) = PRINTED.findall(output)
        return str(token)


@pytest.fixture
def token(database: Database) -> TokenCommands:
    return TokenCommands(database)


@pytest.fixture
async def visitors(page_port: int) -> AsyncIterator[Callable[[], Visitor]]:
    """Makes people with a browser each."""
    made: list[Visitor] = []

    def make() -> Visitor:
        made.append(Visitor(page_port))
        return made[-1]

    yield make
    for visitor in made:
        await visitor.close()


async def test_token_is_printed_once_and_only_its_hash_is_kept(token: TokenCommands, database: Database) -> None:
    printed = await token.add("anna", "content", "--expires", "90d")
    assert printed not in await token.run("list")
    assert printed not in await token.run("list", "--json")
    ((row,),) = database.execute("select t::text from cdc_bridge.access_token t")
    assert printed not in row
    assert database.value("select token_hash = sha256(%s) from cdc_bridge.access_token", (printed.encode(),))
    listed = json.loads(await token.run("list", "--json"))
    assert [(each["name"], each["endpoint"], each["right"], each["last_used_at"]) for each in listed] == [
        ("anna", None, "content", None)
    ]
    lifetime = database.value("select expires_at - created_at from cdc_bridge.access_token")
    assert lifetime.days == 90
    made = json.loads(await token.run("add", "bert", "--right", "view", "--json"))
    assert made["expires_at"] is None
    assert made["token"] != printed


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("add", "Anna", "--right", "view"), "cannot be named Anna", 2),
        (("add", "web_token", "--right", "view"), "cannot be named web_token", 2),
        (("add", "anna"), "Missing option '--right'", 2),
        (("add", "anna", "--right", "all"), "Invalid value for '--right'", 2),
        (("add", "anna", "--right", "view", "--expires", "soon"), "such as 90d", 2),
        (("add", "anna", "--right", "view", "--expires", "0d"), "at most 3650 days, and not 0", 2),
        (("add", "anna", "--right", "view", "--expires", "3651d"), "at most 3650 days", 2),
        (("remove", "anna"), "there is no token anna", 1),
        (("remove", "a\x00nna\x1b"), "there is no token", 1),
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...], words: str, code: int, token: TokenCommands, database: Database
) -> None:
    if "\x00" in "".join(arguments):
        arguments = tuple(argument.replace("\x00", "") for argument in arguments)  # No command line can have one.
    assert words in " ".join((await token.run(*arguments, code=code)).split())
    assert database.value("select count(*) from cdc_bridge.access_token") == 0


async def test_name_is_taken_once(token: TokenCommands) -> None:
    await token.add("anna", "view")
    assert "there is a token anna already" in await token.run("add", "anna", "--right", "change", code=1)


async def test_named_token_works_at_once_in_a_running_daemon_with_its_right_and_no_longer_than_it_is_there(
    token: TokenCommands, page_bridge: Bridge, visitors: Callable[[], Visitor], page_port: int, database: Database
) -> None:
    printed = await token.add("anna", "view")
    anna, operator, api = visitors(), visitors(), ApiClient(page_port, printed)
    try:
        assert (await anna.sign_in(printed)).status == 200
        assert (await operator.sign_in()).status == 200
        assert "signed in as anna to view statuses" in (await anna.get("/")).text
        assert (await anna.get("/endpoints/new")).status == 403
        assert (await api.get("/endpoints")).status == 200
        assert (await api.post("/endpoints/default/pause")).status == 403
        used = "select last_used_at = date_trunc('hour', now()) from cdc_bridge.access_token where name = 'anna'"
        await until(lambda: database.value(used), "its use is noted")
        await token.run("remove", "anna")

        async def is_signed_out() -> bool:
            return (await anna.get("/", follow=False)).status == 303

        await until_it(is_signed_out, "the session has ended")
        assert (await api.get("/endpoints")).status == 401
        assert (await anna.sign_in(printed)).status == 403
        assert (await operator.get("/", follow=False)).status == 200
    finally:
        await api.close()
    assert printed not in "".join(page_bridge.output)


async def test_token_that_has_expired_ends_its_session(
    token: TokenCommands, page_bridge: Bridge, visitors: Callable[[], Visitor], database: Database
) -> None:
    printed = await token.add("anna", "change", "--expires", "1h")
    anna = visitors()
    assert (await anna.sign_in(printed)).status == 200
    # As if an hour had passed: the row is another one then, as no command would make it.
    database.execute("update cdc_bridge.access_token set expires_at = now(), created_at = now() where name = 'anna'")

    async def is_signed_out() -> bool:
        return (await anna.get("/", follow=False)).status == 303

    await until_it(is_signed_out, "the session has ended")
    assert (await anna.sign_in(printed)).status == 403
    assert "(expired)" in await token.run("list")


async def test_without_tokens_in_the_settings_the_first_named_token_opens_dashboard_and_api(
    token: TokenCommands, bridges: Bridges, visitors: Callable[[], Visitor], page_port: int
) -> None:
    await bridges.start(CDC_BRIDGE_WEB_PORT=str(page_port))
    anna, api = visitors(), ApiClient(page_port, None)
    try:
        assert (await anna.get("/")).status == 404
        assert (await api.get("/endpoints")).status == 404
        printed = await token.add("anna", "change")

        async def is_open() -> bool:
            return (await anna.get("/", follow=False)).status == 303

        await until_it(is_open, "there is a dashboard")
        assert (await anna.sign_in(printed)).status == 200
        assert (await api.get("/endpoints")).status == 401
        assert (await api.get("/endpoints", authorization=f"Bearer {printed}")).status == 200
        await token.run("remove", "anna")

        async def is_closed() -> bool:
            return (await api.get("/endpoints")).status == 404

        await until_it(is_closed, "there is no API")
        assert (await anna.get("/sign-in")).status == 404
    finally:
        await api.close()


async def test_known_token_signs_in_while_the_database_is_away_and_that_is_noted_afterwards(
    token: TokenCommands,
    bridges: Bridges,
    visitors: Callable[[], Visitor],
    page_port: int,
    database: Database,
    proxy: Proxy,
) -> None:
    printed = await token.add("anna", "view")
    await bridges.start(
        CDC_BRIDGE_WEB_PORT=str(page_port),
        CDC_BRIDGE_WEB_TOKEN=TOKEN,
        CDC_BRIDGE_DATABASE_URL=proxy.through(database.bridge_url),
    )
    await proxy.cut()
    anna, operator = visitors(), visitors()
    for visitor, text in ((anna, printed), (operator, TOKEN)):
        answer = await visitor.ask("POST", "/sign-in", data={"token": text}, follow=False)
        assert answer.status == 303
        assert (await visitor.get("/")).status == 200
    assert (await visitors().sign_in("wrong")).status == 403
    await proxy.start()
    signed_in = "select who from cdc_bridge.audit where action = 'signed in' order by who"
    await until(lambda: database.execute(signed_in) == [("anna",), ("web_token",)], "the sign-ins are noted")
