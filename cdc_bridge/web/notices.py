"""Notices on the next page, shown once: what was done, or why it was not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from cdc_bridge.endpoints.options import OPTIONS
from cdc_bridge.errors import BridgeError, FaultyInput
from cdc_bridge.web import portal
from cdc_bridge.web.access import Notice
from cdc_bridge.web.requests import session_of

_ARGUMENTS = {"NAME": "name", "URL": "url"}
_MOST_NOTICES = 100
_FLAG = re.compile(r"--([a-z]+(?:-[a-z]+)*)")


def say(request: web.Request, text: str, *, remedy: str = "", secret: str | None = None, good: bool = True) -> None:
    """Show a notice on the next page.

    Args:
        request: The request whose session sees it.
        text: The message.
        remedy: What to do.
        secret: A new signing secret, shown this once.
        good: Whether it reports success.
    """
    notices = session_of(request).notices
    notices.append(Notice(text, remedy, secret, good))
    del notices[:-_MOST_NOTICES]


@contextmanager
def errors_as_notices(request: web.Request) -> Iterator[None]:
    """Show an error on the next page."""
    try:
        yield
    except BridgeError as error:
        if session_of(request).endpoint is not None:
            say(request, sentence(portal.told(error)), good=False)
        else:
            say(request, sentence(error.problem), remedy=error.remedy, good=False)


def sentence(problem: str) -> str:
    """Return a message of the command line as a sentence, with field labels in place of flags."""
    text = _FLAG.sub(lambda flag: LABELS.get(flag[1].replace("-", "_"), flag[1].replace("-", " ")), problem)
    for argument, option in _ARGUMENTS.items():
        if text.startswith(f"{argument} "):
            text = f"{LABELS[option]}{text.removeprefix(argument)}"
    text = text.removesuffix(".")
    return f"{text[:1].upper()}{text[1:]}."


def error_text(error: BridgeError) -> str:
    """Return problem and remedy as sentences; of faulty input those of each fault."""
    return " ".join(error_texts(error))


def error_texts(error: BridgeError) -> list[str]:
    """Return problem and remedy as sentences; of faulty input a text for each fault."""
    if isinstance(error, FaultyInput):
        parts = [(str(fault), fault.remedy) for fault in error.faults]
    else:
        parts = [(error.problem, error.remedy)]
    return [f"{sentence(problem)} {remedy}".strip() for problem, remedy in parts]


LABELS = {
    "name": "Name",
    "keep_old_hours": "Overlap",
    "secret_file": "Vendor's secret",
    **{option.singular or option.name: option.singular.capitalize() or option.label for option in OPTIONS.values()},
}
"""Labels of form fields, by option."""
