"""Logs: one line a fact, for people on a terminal and as JSON elsewhere, on standard error.

Lines carry ids, times and counts; never a body, a header or a setting's value.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog

Level = Literal["debug", "info", "warning", "error"]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _Logger(structlog.make_filtering_bound_logger(logging.DEBUG)):  # type: ignore[misc]
    """A logger whose level can be set while the daemon runs; structlog's own is fixed with the first line."""

    level = logging.INFO

    def is_enabled_for(self, level: int) -> bool:
        return level >= _Logger.level

    def debug(self, event: str | None = None, *args: Any, **facts: Any) -> Any:
        return super().debug(event, *args, **facts) if _Logger.level <= logging.DEBUG else None

    def info(self, event: str | None = None, *args: Any, **facts: Any) -> Any:
        return super().info(event, *args, **facts) if _Logger.level <= logging.INFO else None

    def warning(self, event: str | None = None, *args: Any, **facts: Any) -> Any:
        return super().warning(event, *args, **facts) if _Logger.level <= logging.WARNING else None


def set_level(level: Level) -> None:
    """Have nothing less logged than this; may be called at any time."""
    _Logger.level = _LEVELS[level]
    logging.getLogger().setLevel(max(_LEVELS[level], logging.WARNING))


def set_up_logs(level: Level, log_format: Literal["auto", "console", "json"]) -> None:
    """Configure structlog, and let libraries' warnings through the same way."""
    on_terminal = sys.stderr.isatty()
    as_json = log_format == "json" or (log_format == "auto" and not on_terminal)
    shared: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=on_terminal)
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=_Logger,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    libraries = logging.StreamHandler(sys.stderr)
    libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[libraries], force=True)
    set_level(level)
    # The pool's own account of a lost database would only repeat ours.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
