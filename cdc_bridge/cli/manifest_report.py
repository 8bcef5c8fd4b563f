"""What ``endpoint apply`` prints: faults, the difference, what it means, and what was done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cdc_bridge.endpoints.manifest import SECRET_FILE, Fault
from cdc_bridge.endpoints.manifest_plan import Addition, Change, Plan, declared_options
from cdc_bridge.endpoints.manifest_store import PreparedManifest
from cdc_bridge.endpoints.manifest_text import DEFAULTS, lines_in, toml_value
from cdc_bridge.errors import shortened

_NAMES_SHOWN = 3
_FAULTS_SHOWN = 100
_SECRETS = {"made": "new, made here", "given": f"from {SECRET_FILE}", "none": "removed"}


def fault_lines(faults: Sequence[Fault], text: str) -> Iterator[str]:
    """Yield a line for each kind of fault in a manifest, in the order of its lines.

    Args:
        faults: What is wrong.
        text: The manifest.
    """
    lines = lines_in(text)
    places: dict[str, list[tuple[int, str]]] = {}
    for fault in faults:
        places.setdefault(fault.problem, []).append((_line_of(fault, lines), fault.place))
    kinds = sorted((min(found)[0], [place for _, place in found], problem) for problem, found in places.items())
    for line, where, problem in kinds[:_FAULTS_SHOWN]:
        yield shortened(
            "".join([f"line {line}: " if line else "", f"{listed(where)}: " if any(where) else "", problem])
        )
    if len(kinds) > _FAULTS_SHOWN:
        yield f"and {len(kinds) - _FAULTS_SHOWN:,} more"


def _line_of(fault: Fault, lines: Mapping[tuple[str, ...], int]) -> int:
    """Return the line of a fault; 0: of none. An option that is not in the endpoint's table is in that of all."""
    table, key = fault.path[:2], fault.path[2:]
    paths = [fault.path, (DEFAULTS, *key) if key else table, table]
    return next((lines[path] for path in paths if path in lines), 0)


def difference_lines(prepared: PreparedManifest) -> Iterator[str]:
    """Yield what a manifest changes, and what that means."""
    plan = prepared.plan
    for addition in plan.added:
        yield f"add {addition.name}: {', '.join(_of_addition(addition))}"
    for change in plan.changed:
        yield from (f"change {change.name}: {line}" for line in _of_change(change))
    for removed in plan.removed:
        yield f"remove {removed.name}: {_lost_with(prepared, removed.name)}"
    yield from told(prepared.consequences)
    parts = [("To add", len(plan.added)), ("to change", len(plan.changed)), ("to remove", len(plan.removed))]
    left = f", not in the file and left alone: {plan.left:,}" if plan.left else ""
    numbers = ", ".join(f"{what}: {number:,}" for what, number in parts)
    yield f"{numbers}, unchanged: {len(plan.unchanged):,}{left}."


def _of_addition(addition: Addition) -> Iterator[str]:
    options = declared_options(addition.stored)
    yield options.pop("url")
    yield from (f"{name}: {toml_value(value)}" for name, value in options.items())
    yield f"signing secret: {_SECRETS[addition.secret.how]}" if addition.secret.signed else "unsigned"


def _of_change(change: Change) -> Iterator[str]:
    for name, before, after, hidden in change.shown():
        yield f"{name}: {_value(before)} -> {_value(after)}{' (*** is another value)' if hidden else ''}"
    if change.secret is not None:
        overlap = "; the previous one signs as well for 24 hours" if change.secret.overlap else ""
        yield f"signing secret: {_SECRETS[change.secret.how]}{overlap}"
    if change.moves:
        kept = ["headers"] if change.stored["headers"] and "headers" not in change.options else []
        kept += ["signing secret"] if change.secret is None and change.endpoint.secret is not None else []
        if kept:
            yield f"{' and '.join(kept)}: kept, for the other server as well"


def _lost_with(prepared: PreparedManifest, name: str) -> str:
    if (lost := prepared.lost.get(name)) is None:
        return "what is not delivered to it yet is lost"
    backlog = "an unknown number" if lost.backlog is None else f"{lost.backlog:,}"
    return (
        f"queued or retrying deliveries: {lost.pending:,}, changes not sent to it yet: {backlog}; all of them are lost"
    )


def _value(value: Any) -> str:
    return "none" if value is None else toml_value(value)


def told(said: Iterable[tuple[str, str]]) -> list[str]:
    """Return each text once, with the names that it is said of."""
    names: dict[str, list[str]] = {}
    for name, text in said:
        names.setdefault(text, []).append(name)
    return [f"{listed(found)}: {text}" for text, found in names.items()]


def listed(names: Sequence[str]) -> str:
    """Return the first few of many names, and how many there are."""
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def applied_lines(plan: Plan, secrets: Mapping[str, str], *, from_oldest: bool) -> Iterator[str]:
    """Yield what was done, and the secrets that were made.

    Args:
        plan: What was applied.
        secrets: Those that are to be shown.
        from_oldest: Whether new endpoints begin with the oldest change in the log.
    """
    yield f"Added {len(plan.added):,}, changed {len(plan.changed):,}, removed {len(plan.removed):,}."
    if plan.added and from_oldest:
        yield "New endpoints begin with the oldest change in the log."
    elif plan.added:
        yield (
            "New endpoints begin with what is committed from now on. To send them the existing reservations: "
            "cdc-bridge backfill NAME"
        )
    if secrets:
        width = max(map(len, secrets))
        yield from ("", "Their signing secrets, which are not shown again:", "")
        yield from (f"    {name:<{width}}  {secret}" for name, secret in secrets.items())
        yield ""


def as_json(
    prepared: PreparedManifest, secrets: Mapping[str, str], warnings: Sequence[str], *, applied: bool
) -> dict[str, Any]:
    """Return a plan, and what came of it, for JSON."""
    plan = prepared.plan
    return {
        "applied": applied,
        "added": [
            {
                "name": each.name,
                "options": declared_options(each.stored),
                "signing_secret": each.secret.how,
                "secret": secrets.get(each.name),
            }
            for each in plan.added
        ],
        "changed": [
            {
                "name": each.name,
                "options": {name: {"before": before, "after": after} for name, before, after, _ in each.shown()},
                "signing_secret": "kept" if each.secret is None else each.secret.how,
                "secret": secrets.get(each.name),
            }
            for each in plan.changed
        ],
        "removed": [
            {"name": each.name, "pending": lost.pending, "backlog": lost.backlog}
            if (lost := prepared.lost.get(each.name)) is not None
            else {"name": each.name, "pending": None, "backlog": None}
            for each in plan.removed
        ],
        "unchanged": len(plan.unchanged),
        "not_in_file": plan.left,
        "consequences": told(prepared.consequences),
        "warnings": list(warnings),
    }
