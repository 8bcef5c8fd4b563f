"""The errors the bridge raises on purpose.

    BridgeError                       exit code 1
    ├── SettingsError                 exit code 78: a setting is missing, unknown or wrong
    ├── WrongUsage                    exit code 2: the command line is wrong, or lacks what only the database could tell
    │   └── FaultyInput               exit code 2: some of the values that were given cannot be used
    ├── NotFound                      exit code 1: what was named does not exist
    ├── Conflict                      exit code 1: it does not go with the state of what was named
    ├── DatabaseUnavailable           exit code 1: PostgreSQL cannot be reached now; trying again may help
    ├── InstallationError             exit code 1: the SQL side is missing, too old, too new or short of a right
    │   └── StatementFailed           exit code 1: PostgreSQL rejected a statement, or a row in it
    ├── PayloadInvalid                exit code 1: a payload is not defined, or does not fit e-Res's tables any more
    ├── LeaseLost                     never ends the daemon: another daemon has acquired the lease of an endpoint
    └── ServerReplaced                never ends the daemon: another server serves the database now

Each carries the problem and, in ``remedy``, the command or setting that solves it. A failed attempt is not an error but
an :class:`~cdc_bridge.transport.outcome.Outcome`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

_MAX_CHARACTERS = 500


def shortened(text: str) -> str:
    """Return a text no longer than is useful in a log line or a table: an error may quote whatever it met."""
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"


class BridgeError(Exception):
    """A problem that ends what is being done, worded for the person who has to solve it."""

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "", *, more: Sequence[str] = ()) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.lines = tuple(filter(None, (problem, *more, remedy)))
        """Problem, what more there is to say of it, and remedy: each is a line, whatever stands in it."""

    def __str__(self) -> str:
        return "\n".join(self.lines)


class SettingsError(BridgeError):
    """A setting is missing, unknown or wrong. The exit code is ``EX_CONFIG``: systemd does not restart the daemon."""

    exit_code = 78

    @classmethod
    def of(cls, errors: Sequence[SettingsError]) -> SettingsError:
        """Return one error that says all of them: there is at least one."""
        first, *more = errors
        if not more:
            return first
        _, *rest = [line for error in errors for line in error.lines]
        return cls(first.problem, more=rest)


class WrongUsage(BridgeError):
    """The command line has a wrong value or lacks one, as only the database or another option can tell."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """A value that was given and cannot be used."""

    name: str
    """Of the option or argument, as JSON has it: ``max_in_flight``."""
    flag: str
    """The same as the command line has it: ``--max-in-flight``."""
    problem: str
    """Words that follow the name; they repeat nothing that may be secret."""
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.flag} {self.problem}"


class FaultyInput(WrongUsage):
    """Values that were given cannot be used; each is named."""

    def __init__(self, *faults: Fault) -> None:
        """Word the faults.

        Args:
            faults: What is wrong, at least one.
        """
        first, *more = [line for fault in faults for line in (str(fault), fault.remedy) if line]
        if len(faults) == 1:
            super().__init__(first, faults[0].remedy)
        else:
            super().__init__(first, more=more)
        self.faults = faults


class Faults:
    """Collects what is wrong with several values, so that all of it is named at once."""

    def __init__(self, found: Iterable[Fault] = ()) -> None:
        """Begin with what was found before."""
        self._found = list(found)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Keep what is wrong with a value, and go on behind the block."""
        try:
            yield
        except FaultyInput as error:
            self._found += error.faults

    def raise_any(self) -> None:
        """End here if anything is wrong.

        Raises:
            FaultyInput: Something is.
        """
        if self._found:
            raise FaultyInput(*self._found)


class NotFound(BridgeError):
    """What was named does not exist, or does not any more."""


class Conflict(BridgeError):
    """What was asked for does not go with the present state of what was named."""


class DatabaseUnavailable(BridgeError):
    """PostgreSQL does not respond, rejects the login or is read-only at present."""


class InstallationError(BridgeError):
    """The SQL side of the bridge is not what this version of the daemon needs."""


class StatementFailed(InstallationError):
    """A statement failed while the connection works: the statement, or a row in it, is at fault."""


class PayloadInvalid(BridgeError):
    """A payload is not defined, or what it reads is no longer there. Changes are kept until it can be loaded."""

    def __init__(self, problem: str, remedy: str = "", *, evidence: Sequence[str] = ()) -> None:
        """Word the problem.

        Args:
            problem: Why it cannot be loaded.
            remedy: What to do.
            evidence: If it fits e-Res's tables, reservations that it fails for.
        """
        super().__init__(problem, remedy)
        self.evidence = evidence


class RowsLocked(BridgeError):
    """Somebody else has locked rows for longer than is waited for them; nothing was written."""


class LeaseLost(BridgeError):
    """Another daemon has acquired the endpoint's lease; what this one did since cannot be recorded."""


class ServerReplaced(BridgeError):
    """Another server serves the database than the one that something was read from."""

    def __init__(self) -> None:
        super().__init__("another server serves the database now, or the same one after a restart")
