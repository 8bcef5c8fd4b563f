"""Carries out a manifest: reads all endpoints at once, checks what the database can tell, writes in one transaction.

Between the two the operator is asked. So the rows that the plan was made from are compared before anything is written,
under a lock: if somebody changed one of them meanwhile, nothing is done. Many endpoints go into one statement; only
conditions that do not fit are looked for one by one, the first few of them. While the table is locked, daemons wait, so
nothing else is done then: what is written is made before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, LiteralString, TypeVar

import orjson
from psycopg import AsyncConnection, Error, errors, sql
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.audit.actor import Actor
from cdc_bridge.audit.log import Action, record_many
from cdc_bridge.endpoints.lookup import no_such_endpoint
from cdc_bridge.endpoints.manifest import DECLARED, Fault, Manifest
from cdc_bridge.endpoints.manifest_plan import Addition, Change, Plan, StoredEndpoint, make_plan
from cdc_bridge.endpoints.manifest_text import ENDPOINTS
from cdc_bridge.endpoints.option import Kind
from cdc_bridge.endpoints.option_columns import with_columns
from cdc_bridge.endpoints.option_input import check_files
from cdc_bridge.endpoints.options import UnusableOption
from cdc_bridge.endpoints.secrets_cipher import NO_KEYS, SecretsCipher
from cdc_bridge.endpoints.signing_secret import new_secret
from cdc_bridge.endpoints.stored_secrets import decrypted, encrypted, require_key, secrets_in
from cdc_bridge.endpoints.subscription_input import consequences, faults_of, warnings_of
from cdc_bridge.errors import BridgeError, DatabaseUnavailable, shortened
from cdc_bridge.model import without_secrets
from cdc_bridge.payload.subscription import Subscription, parse_conditions
from cdc_bridge.queries import load_queries
from cdc_bridge.schema.session import command_session

_queries = load_queries(__name__)

_FILES = [name for name, option in DECLARED.items() if option.kind is Kind.FILE]
_SUBSCRIPTION = ("payload", "only")
_COUNTED = 100
"""The most endpoints whose backlog is counted: with each, changes in the log are walked, up to 100,000."""

_BATCH = 100
"""Endpoints written by one statement. Many servers log a statement that takes long, with its parameters: headers and
secrets are among them."""

T = TypeVar("T")
Connection = AsyncConnection[TupleRow]


class OutcomeUnknown(DatabaseUnavailable):
    """The connection was lost while the transaction was committed."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What is lost with an endpoint that is removed."""

    pending: int
    """Deliveries that are queued or retrying."""
    backlog: int | None
    """Changes not sent to it yet; ``None``: they cannot be counted."""


@dataclass(frozen=True, slots=True)
class PreparedManifest:
    """A plan, and what there is to say of it."""

    plan: Plan
    faults: tuple[Fault, ...]
    """Of the manifest, of the comparison and of the database."""
    warnings: Sequence[tuple[str, str]]
    """An endpoint's name, and what to know of it."""
    lost: Mapping[str, Lost]
    """By the name of the endpoint that is removed; empty, if so many are that counting would take long."""

    @property
    def consequences(self) -> list[tuple[str, str]]:
        """What changes mean for what is queued and was delivered: an endpoint's name, and the text."""
        return [
            (change.name, text)
            for change in self.plan.changed
            for text in consequences(
                "NAME",
                {**change.endpoint.options, "url": without_secrets(change.endpoint.options["url"])},
                {name: change.stored[name] for name in change.options},
            )
        ]


async def stored_endpoints(connection: Connection, cipher: SecretsCipher) -> list[StoredEndpoint]:
    """Return all endpoints by name. A secret that cannot be decrypted here differs from any that is given."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(with_columns(_queries["declared_endpoints"], DECLARED))
        rows = [decrypted(cipher, row, keep_others=True) async for row in cursor]
    return [
        StoredEndpoint(
            options={name: row[name] for name in DECLARED},
            **{name: row[name] for name in ("endpoint_id", "name", "in_settings", "secret", "rotating")},
        )
        for row in rows
    ]


async def exported_endpoints(database_url: str, names: Collection[str]) -> list[StoredEndpoint]:
    """Return some endpoints by name, or all but that of the settings.

    Raises:
        BridgeError: There is none of a name, it is that of the settings, or the database cannot be read.
    """
    async with command_session(database_url) as connection:
        stored = await stored_endpoints(connection, NO_KEYS)  # None of their secrets is shown.
        by_name = {endpoint.name: endpoint for endpoint in stored}
        for name in names:
            if name not in by_name:
                raise await no_such_endpoint(connection, name)
    for name in names:
        if by_name[name].in_settings:
            raise BridgeError(
                f"endpoint {name} is declared in a daemon's settings, and cannot be in a manifest",
                f"To see it: cdc-bridge endpoint show {name}",
            )
    return [endpoint for endpoint in stored if endpoint.name in names or (not names and not endpoint.in_settings)]


async def prepare_manifest(
    database_url: str,
    manifest: Manifest,
    *,
    cipher: SecretsCipher,
    prune: bool,
    keep_headers: bool,
    new_secrets: bool,
) -> PreparedManifest:
    """Compare a manifest with the endpoints that there are, and check it; nothing is changed.

    Args:
        database_url: The database.
        manifest: The manifest.
        cipher: Decrypts what is stored.
        prune: Whether endpoints are removed that are not in it.
        keep_headers: Whether another server gets the same headers, signed with the same secret.
        new_secrets: Whether a secret is made for each endpoint that moves to another server.

    Raises:
        Conflict: There is no key, and secrets are encrypted.
        BridgeError: The database cannot be used.
    """
    async with command_session(database_url) as connection:
        plan = make_plan(
            manifest,
            await stored_endpoints(connection, cipher),
            prune=prune,
            keep_headers=keep_headers,
            new_secrets=new_secrets,
        )
        await require_key(connection, cipher, for_secrets=_writes_secrets(plan))
        faults, warnings = await _checked(connection, plan)
        lost = await _lost_with(connection, plan.removed)
    return PreparedManifest(plan, (*manifest.faults, *plan.faults, *faults), warnings, lost)


def new_secrets_for(plan: Plan) -> Mapping[str, str]:
    """Make the signing secrets that a plan needs, by the name of the endpoint."""
    every: list[Addition | Change] = [*plan.added, *plan.changed]
    return {each.name: new_secret() for each in every if each.secret is not None and each.secret.how == "made"}


async def apply_plan(
    database_url: str, plan: Plan, secrets: Mapping[str, str], *, cipher: SecretsCipher, from_oldest: bool, by: Actor
) -> None:
    """Carry out a plan, all of it or nothing.

    Args:
        database_url: The database.
        plan: The plan.
        secrets: Signing secrets that were made for it.
        cipher: Encrypts what is written.
        from_oldest: Whether new endpoints begin with the oldest change in the log, else with what is committed from
            now on.
        by: Who applies it.

    Raises:
        OutcomeUnknown: The connection was lost at the end: all of it was done, or nothing.
        BridgeError: Nothing was done: an endpoint was changed since the plan was made, or the database cannot be used.
    """
    statements, done = list(_statements(plan, secrets, cipher, from_oldest=from_oldest)), list(_audited(plan))
    committing = False
    async with command_session(database_url) as connection:
        try:
            async with connection.transaction():
                await connection.execute(_queries["limit_lock_of_endpoints"])
                await connection.execute(_queries["lock_endpoints"])
                _require_unchanged(plan, await stored_endpoints(connection, cipher))
                for statement, parameters in statements:
                    await connection.execute(statement, parameters)
                for batch in _batches(done):
                    await record_many(connection, by, batch)
                committing = True
        except errors.LockNotAvailable:
            raise BridgeError(
                "another session locks the endpoints, and nothing was done", "Run the command again."
            ) from None
        except Error:
            if committing and connection.broken:
                raise OutcomeUnknown(
                    "the connection was lost at the last moment: all of it was done, or nothing",
                    "Run the command again: it shows what is left to do.",
                ) from None
            raise


def _statements(
    plan: Plan, secrets: Mapping[str, str], cipher: SecretsCipher, *, from_oldest: bool
) -> Iterator[tuple[LiteralString | sql.Composed, Mapping[str, Any]]]:
    """Yield what is written, ready to be sent."""
    options = list(DECLARED)
    for added in _batches(plan.added):
        yield (
            with_columns(_queries["add_endpoints"], [*options, "secret"]),
            {
                "endpoints": _json(
                    [
                        {
                            **_written(cipher, each, {**each.stored, "secret": _secret_of(each, secrets)}),
                            "name": each.name,
                        }
                        for each in added
                    ]
                ),
                "from_oldest": from_oldest,
            },
        )
    for changed in _batches([each for each in plan.changed if each.options]):
        rows = [{**_written(cipher, each, each.stored), "endpoint_id": each.endpoint.endpoint_id} for each in changed]
        yield with_columns(_queries["set_endpoints"], options), {"endpoints": _json(rows)}
    for resigned in _batches([(each, each.secret) for each in plan.changed if each.secret is not None]):
        yield (
            _queries["replace_secrets"],
            {
                "endpoint_ids": [each.endpoint.endpoint_id for each, _ in resigned],
                "secrets": [
                    _written(cipher, each, {"secret": _secret_of(each, secrets)})["secret"] for each, _ in resigned
                ],
                "overlaps": [secret.overlap for _, secret in resigned],
            },
        )
    if plan.removed:
        yield _queries["remove_endpoints"], {"endpoint_ids": [endpoint.endpoint_id for endpoint in plan.removed]}


def _audited(plan: Plan) -> Iterator[tuple[Action, str, Mapping[str, object]]]:
    for added in plan.added:
        yield Action.ENDPOINT_ADDED, added.name, {"url": shortened(without_secrets(added.stored["url"]))}
    for changed in plan.changed:
        options = sorted([*changed.options, *(["secret"] if changed.secret is not None else [])])
        yield Action.ENDPOINT_CHANGED, changed.name, {"options": options}
    for removed in plan.removed:
        yield Action.ENDPOINT_REMOVED, removed.name, {}


def _batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))


def _secret_of(each: Addition | Change, secrets: Mapping[str, str]) -> str | None:
    return secrets.get(each.name) or (each.secret.given if each.secret is not None else None)


def _writes_secrets(plan: Plan) -> bool:
    every: list[Addition | Change] = [*plan.added, *plan.changed]
    return any((each.secret is not None and each.secret.signed) or secrets_in(each.stored) for each in every)


def _written(cipher: SecretsCipher, each: Addition | Change, stored: Mapping[str, Any]) -> dict[str, Any]:
    return encrypted(cipher, each.name, stored, url=each.stored["url"])


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows).decode()


def _require_unchanged(plan: Plan, now: Sequence[StoredEndpoint]) -> None:
    found = {endpoint.name: endpoint for endpoint in now}
    for endpoint in plan.seen:
        if found.get(endpoint.name) != endpoint:
            raise _meanwhile(f"endpoint {endpoint.name} was changed")
    for addition in plan.added:
        if addition.name in found:
            raise _meanwhile(f"endpoint {addition.name} was added")


def _meanwhile(what: str) -> BridgeError:
    return BridgeError(
        f"{what} by somebody else meanwhile, and nothing was done", "Run the command again, to see the difference anew."
    )


async def _checked(connection: Connection, plan: Plan) -> tuple[list[Fault], list[tuple[str, str]]]:
    """Check what is new in a plan against the mapping and against the files here; return faults and warnings."""
    faults, warnings = [], _renaming(plan)
    subscriptions = _by_key(_touching(plan, _SUBSCRIPTION), _subscription)
    unfit = await faults_of(connection, subscriptions)
    for subscription, names in subscriptions.items():
        if subscription in unfit:
            option, problem = unfit[subscription]
            faults += [Fault((ENDPOINTS, name, option), problem) for name in names]
        else:
            warnings += [(name, f"only {text}") for text in warnings_of(subscription) for name in names]
    for files, names in _by_key(_touching(plan, _FILES), _files).items():
        try:
            texts = list(check_files(dict(files), {}, named=attrgetter("name")))
        except UnusableOption as error:
            faults += [Fault((ENDPOINTS, name, error.option.name), str(error)) for name in names]
        else:
            warnings += [(name, text) for text in texts for name in names]
    return faults, warnings


def _renaming(plan: Plan) -> list[tuple[str, str]]:
    what = "what is not delivered to the old one is lost" if plan.removed else "the old one gets its deliveries as well"
    return [
        (
            f"{old} -> {new}",
            "the same url under another name is a new endpoint, with a position and a secret of its own; " + what,
        )
        for old, new in plan.renamed
    ]


def _touching(plan: Plan, options: Collection[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield name and options of each endpoint that is new, or for which one of some options changes."""
    yield from ((added.name, added.stored) for added in plan.added)
    yield from ((change.name, change.stored) for change in plan.changed if not {*change.options}.isdisjoint(options))


def _by_key(endpoints: Iterator[tuple[str, Mapping[str, Any]]], key: Callable[[Mapping[str, Any]], Any]) -> Any:
    """Return the names of endpoints by what is checked once for all of them."""
    found: dict[Any, list[str]] = {}
    for name, stored in endpoints:
        found.setdefault(key(stored), []).append(name)
    return found


def _subscription(stored: Mapping[str, Any]) -> Subscription:
    return Subscription(stored["payload"], parse_conditions(stored["only"]))


def _files(stored: Mapping[str, Any]) -> tuple[tuple[str, str | None], ...]:
    return tuple((name, stored[name]) for name in _FILES)


async def _lost_with(connection: Connection, removed: Sequence[StoredEndpoint]) -> Mapping[str, Lost]:
    if not 0 < len(removed) <= _COUNTED:
        return {}
    names = {endpoint.endpoint_id: endpoint.name for endpoint in removed}
    cursor = await connection.execute(_queries["undelivered_of_endpoints"], {"endpoint_ids": list(names)})
    lost = {names[endpoint_id]: Lost(pending, unread) async for endpoint_id, pending, unread in cursor}
    return {endpoint.name: lost.get(endpoint.name, Lost(0, 0)) for endpoint in removed}
