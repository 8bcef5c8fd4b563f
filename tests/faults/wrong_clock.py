"""The daemon with a clock that can be set back: ``python -m tests.faults.wrong_clock run``.

SIGUSR1 sets the wall clock of this process back by an hour, and leaves the clocks alone that never go back, as setting
a machine's clock does. The product has no hook for this: every module's ``datetime`` is replaced, and ``time.time``.
"""

from __future__ import annotations

import datetime as dt
import signal
import sys
import time

SET_BACK_BY = dt.timedelta(hours=1)

_off_by = dt.timedelta(0)
_real_time = time.time


class _Datetime(dt.datetime):
    """Tells the wrong time."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
        return dt.datetime.now(tz) + _off_by


def _set_back(*_: object) -> None:
    global _off_by  # noqa: PLW0603 - a process has one clock
    _off_by -= SET_BACK_BY


def main() -> None:
    """Put the wrong clock in and run the daemon."""
    import cdc_bridge.daemon  # noqa: F401, PLC0415 - so that all its modules are there
    from cdc_bridge.cli.app import main as run_command  # noqa: PLC0415

    own = [module for name, module in sys.modules.items() if name.startswith("cdc_bridge.")]
    users = [module for module in own if getattr(module, "datetime", None) is dt.datetime]
    if "cdc_bridge.transport.client" not in {module.__name__ for module in users}:
        raise RuntimeError("the sender does not take the time from its name datetime any more")
    for module in users:
        module.datetime = _Datetime  # type: ignore[attr-defined]
    time.time = lambda: _real_time() + _off_by.total_seconds()
    signal.signal(signal.SIGUSR1, _set_back)
    run_command()


if __name__ == "__main__":
    main()
