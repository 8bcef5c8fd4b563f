"""The errors the bridge raises on purpose.

    BridgeError                       exit code 1
    ├── SettingsError                 exit code 78: a setting is missing, unknown or wrong
    ├── WrongUsage                    exit code 2: the command line is wrong, or lacks what only the database could tell
    ├── DatabaseUnavailable           exit code 1: PostgreSQL cannot be reached now; trying again may help
    ├── InstallationError             exit code 1: the SQL side is missing, too old, too new or short of a right
    └── LeaseLost                     never the end of the daemon: another one has taken an endpoint over

Each carries what is wrong and, in ``remedy``, the command or setting that mends it. An attempt that
an endpoint refuses is not an error but an :class:`~cdc_bridge.transport.outcome.Outcome`.
"""

from __future__ import annotations


class BridgeError(Exception):
    """Something the bridge cannot go on with, said for the person who has to mend it."""

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n{self.remedy}" if self.remedy else self.problem


class SettingsError(BridgeError):
    """A setting is missing, unknown or wrong; ``EX_CONFIG`` of sysexits.h tells systemd not to try again."""

    exit_code = 78


class WrongUsage(BridgeError):
    """The command line has a value that cannot be used, or lacks one, for more reasons than its form."""

    exit_code = 2


class DatabaseUnavailable(BridgeError):
    """PostgreSQL does not answer, refuses the login or is read-only at present."""


class InstallationError(BridgeError):
    """The SQL side of the bridge is not what this version of the daemon needs."""


class LeaseLost(BridgeError):
    """Another daemon has taken the endpoint over; what was done for it since can not be recorded."""
