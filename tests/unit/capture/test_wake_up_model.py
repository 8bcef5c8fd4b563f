"""Every interleaving of a daemon that goes to sleep with writers that commit, in a model of the wake-up.

The model is that of ``cdc_bridge.capture.wake_up`` and ``sql/functions/define_capture.sql``. A wake-up is lost if the
daemon waits for a notification, all writers are done, none of their notifications is under way, and a committed change
was not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import pytest

WriterState = Literal["idle", "wrote", "will notify", "silent", "committed"]
SleeperStep = Literal["lock", "note horizon", "look for silent writers", "read", "wait"]

RIGHT_ORDER: tuple[SleeperStep, ...] = ("lock", "note horizon", "look for silent writers", "read", "wait")


NOBODY_WROTE: tuple[WriterState, ...] = ("idle", "idle")
WRITERS = len(NOBODY_WROTE)


@dataclass(frozen=True)
class World:
    writers: tuple[WriterState, ...] = NOBODY_WROTE
    xids: tuple[int, ...] = (0,) * WRITERS
    next_xid: int = 1
    sleeper: int = 0
    locked: bool = False
    horizon: int = 0
    silent_writers: bool = True
    notified: bool = False
    read: frozenset[int] = frozenset()

    def with_writer(self, number: int, state: WriterState, **changes: object) -> World:
        writers = (*self.writers[:number], state, *self.writers[number + 1 :])
        return replace(self, writers=writers, **changes)  # type: ignore[arg-type]


def writer_steps(world: World) -> Iterator[World]:
    for number, state in enumerate(world.writers):
        match state:
            case "idle":
                xids = (*world.xids[:number], world.next_xid, *world.xids[number + 1 :])
                yield world.with_writer(number, "wrote", xids=xids, next_xid=world.next_xid + 1)
            case "wrote":
                yield world.with_writer(number, "will notify" if world.locked else "silent")
            case "will notify":
                yield world.with_writer(number, "committed", notified=True)
            case "silent":
                yield world.with_writer(number, "committed")
            case "committed":
                pass


def sleeper_steps(world: World, order: tuple[SleeperStep, ...]) -> Iterator[World]:
    onward = replace(world, sleeper=world.sleeper + 1)
    running = [xid for xid, state in zip(world.xids, world.writers, strict=True) if xid and state != "committed"]
    match order[world.sleeper]:
        case "lock":
            yield replace(onward, locked=True)
        case "note horizon":
            yield replace(onward, horizon=world.next_xid)
        case "look for silent writers":
            yield replace(onward, silent_writers=any(xid < world.horizon for xid in running))
        case "read":
            yield replace(onward, read=frozenset(n for n, state in enumerate(world.writers) if state == "committed"))
        case "wait":
            if world.notified:
                yield replace(world, sleeper=0, locked=False, notified=False)
            elif world.silent_writers:  # polling: back to looking
                yield replace(world, sleeper=order.index("look for silent writers"))


def lost_wake_ups(order: tuple[SleeperStep, ...]) -> list[World]:
    """Return the worlds in which nothing can happen any more although a change was not read."""
    seen, open_ = {World()}, [World()]
    lost = []
    while open_:
        world = open_.pop()
        nexts = [*writer_steps(world), *sleeper_steps(world, order)]
        if not nexts and len(world.read) < WRITERS:
            lost.append(world)
        for following in nexts:
            if following not in seen and following.next_xid <= WRITERS + 1:
                seen.add(following)
                open_.append(following)
    assert len(seen) > 100
    return lost


def test_no_interleaving_loses_a_wake_up() -> None:
    assert lost_wake_ups(RIGHT_ORDER) == []


@pytest.mark.parametrize(
    "order",
    [
        ("note horizon", "lock", "look for silent writers", "read", "wait"),
        ("lock", "note horizon", "read", "look for silent writers", "wait"),
        ("look for silent writers", "read", "note horizon", "lock", "wait"),
        ("read", "lock", "note horizon", "look for silent writers", "wait"),
    ],
)
def test_any_other_order_loses_one(order: tuple[SleeperStep, ...]) -> None:
    assert lost_wake_ups(order) != []
