"""Faults of a manifest, as they are printed."""

from __future__ import annotations

import pytest

from cdc_bridge.cli.manifest_report import fault_lines
from cdc_bridge.endpoints.manifest import Fault

TEXT = """\
[defaults]
payload = "kitchen"
[endpoints.till]
url = "https://till.example"
events = "all"
[endpoints."b\\u0061r"]
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("endpoints", "till", "events"), "line 5: endpoints.till: x"),
        (("endpoints", "till", "payload"), "line 2: endpoints.till: x"),
        (("endpoints", "till", "only"), "line 3: endpoints.till: x"),
        (("endpoints", "till"), "line 3: endpoints.till: x"),
        (("endpoints", "bar"), "endpoints.bar: x"),
        (("defaults", "payload"), "line 2: defaults: x"),
        (("defaults",), "line 1: x"),
        (("endpoint",), "x"),
    ],
)
def test_fault_has_the_line_of_its_key_or_of_what_is_around_it(path: tuple[str, ...], line: str) -> None:
    assert list(fault_lines([Fault(path, "x")], TEXT)) == [line]


def test_faults_come_by_line_and_equal_ones_together() -> None:
    faults = [Fault(("endpoints", name), problem) for problem in ("y", "x") for name in ("till", "a", "b", "c")]
    faults.append(Fault(("defaults", "payload"), "z" * 1000))
    first, second, third = fault_lines(faults, TEXT + "".join(f"[endpoints.{name}]\n" for name in "abc"))
    assert first.startswith("line 2: defaults: zzz")
    assert len(first) == 500
    assert second == "line 3: endpoints.till, endpoints.a, endpoints.b and 1 more: x"
    assert third == "line 3: endpoints.till, endpoints.a, endpoints.b and 1 more: y"
