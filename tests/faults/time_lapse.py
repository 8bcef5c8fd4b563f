"""The daemon with a breaker in time-lapse: ``python -m tests.faults.time_lapse run``.

An endpoint that is away for six hours is tried after pauses that grow to a minute, so some 370 times. Here these pauses
are shorter by a factor and all else is as it is: what six hours do to the breaker, to what is in memory and to the
delivery log takes seconds.
"""

from __future__ import annotations

from dataclasses import replace

FACTOR = 6000
PROBES_IN_SIX_HOURS = 6 + (6 * 3600 - 63) // 60  # 1, 2, 4, ... 32 s, and then one a minute


def main() -> None:
    """Shorten the pauses and run the daemon."""
    from cdc_bridge.cli.app import main as run_command  # noqa: PLC0415
    from cdc_bridge.pipeline import breaker  # noqa: PLC0415

    pauses = breaker.PAUSES
    if (pauses.first_seconds, pauses.longest_seconds) != (1.0, 60.0):
        raise RuntimeError("the breaker's pauses are others now: reckon anew")
    breaker.PAUSES = replace(
        pauses, first_seconds=pauses.first_seconds / FACTOR, longest_seconds=pauses.longest_seconds / FACTOR
    )
    run_command()


if __name__ == "__main__":
    main()
