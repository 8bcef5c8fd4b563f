"""What is said on the next page, once: what was done, or why it was not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from cdc_bridge.endpoints.options import OPTIONS
from cdc_bridge.errors import BridgeError
from cdc_bridge.web.access import Notice
from cdc_bridge.web.requests import session_of

_ARGUMENTS = {"NAME": "name", "URL": "url"}
_FLAG = re.compile(r"--([a-z]+(?:-[a-z]+)*)")


def say(request: web.Request, text: str, *, remedy: str = "", secret: str | None = None, good: bool = True) -> None:
    """Say something on the next page.

    Args:
        request: who is told.
        text: what.
        remedy: what mends it.
        secret: a signing secret that was just made, to be shown this once.
        good: whether it is what was wanted.
    """
    session_of(request).notices.append(Notice(text, remedy, secret, good))


@contextmanager
def told_on_the_next_page(request: web.Request) -> Iterator[None]:
    """Have an error said on the next page."""
    try:
        yield
    except BridgeError as error:
        say(request, sentence(error.problem), remedy=error.remedy, good=False)


def sentence(problem: str) -> str:
    """Return words of the command line as a sentence, with the names of the page's fields in place of flags."""
    text = _FLAG.sub(lambda flag: LABELS.get(flag[1].replace("-", "_"), flag[1].replace("-", " ")), problem)
    for argument, option in _ARGUMENTS.items():
        if text.startswith(f"{argument} "):
            text = f"{LABELS[option]}{text.removeprefix(argument)}"
    text = text.removesuffix(".")
    return f"{text[:1].upper()}{text[1:]}."


def error_in_words(error: BridgeError) -> str:
    """Return what is wrong and what mends it, as sentences."""
    return f"{sentence(error.problem)} {error.remedy}".strip()


LABELS = {
    "name": "Name",
    "keep_old_hours": "Hours",
    **{option.singular or option.name: option.singular.capitalize() or option.label for option in OPTIONS.values()},
}
"""What the fields of forms are called, by the name of the flag."""
