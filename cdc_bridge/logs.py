"""Logging: one line per event on standard error, for people on a terminal and as JSON elsewhere.

Lines carry ids, times and counts; never a body, a header or the value of a setting.

structlog hands its events to the standard library's loggers, so that levels are the standard library's too: they may
change at any time, and a suppressed level costs one cached look-up.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Literal

import structlog

from cdc_bridge.errors import shortened
from cdc_bridge.escaping import escaped

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_level(level: Level) -> None:
    """Set the lowest level that is logged; of libraries, nothing below a warning."""
    logging.getLogger("cdc_bridge").setLevel(_LEVELS[level])
    logging.getLogger().setLevel(max(_LEVELS[level], logging.WARNING))


def _shorten(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Cut long values: a key may have thousands of characters."""
    return {name: shortened(value) if isinstance(value, str) else value for name, value in event.items()}


def set_up_logs(level: Level, log_format: Format) -> None:
    """Configure structlog and the standard library's logging to write the same lines."""
    on_terminal = sys.stderr.isatty()
    as_json = log_format == "json" or (log_format == "auto" and not on_terminal)
    renderers: list[structlog.types.Processor] = (
        [structlog.processors.JSONRenderer(serializer=_as_json)]
        if as_json
        else [_escape_values, structlog.dev.ConsoleRenderer(colors=on_terminal)]
    )
    annotate: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _shorten,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *annotate,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=annotate,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,  # Also for people: a renderer's own traceback shows variables.
                *renderers,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], force=True)
    set_level(level)
    # psycopg reports a lost database with every attempt to connect, and each error twice; the daemon reports it once.
    logging.getLogger("psycopg").setLevel(logging.ERROR)


def _escape_values(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Escape what a terminal would obey; a traceback keeps its lines."""
    return {
        name: escaped(value if isinstance(value, str) else repr(value), keep="\n" if name == "exception" else "")
        for name, value in event.items()
    }


def _as_json(event: structlog.types.EventDict, **options: Any) -> str:
    return escaped(json.dumps(event, **options))
