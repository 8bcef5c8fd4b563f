"""What a sample says of a search that ended early."""

from __future__ import annotations

import pytest

from cdc_bridge.checks.sample import Sample
from cdc_bridge.checks.verdict import Verdict


@pytest.mark.parametrize(
    ("sample", "verdict", "detail"),
    [
        (Sample("short"), Verdict.WARNING, "there is no reservation that an endpoint gets"),
        (Sample("short", timed_out=True), Verdict.WARNING, "no reservation that an endpoint gets was found in time"),
        (Sample("short", 3), Verdict.OK, "3 bodies, as its schema has them"),
        (
            Sample("short", 3, timed_out=True),
            Verdict.OK,
            "3 bodies, as its schema has them; more were not found in time",
        ),
    ],
)
def test_search_that_ended_early_is_told_from_one_that_found_no_more(
    sample: Sample, verdict: Verdict, detail: str
) -> None:
    assert (sample.check.verdict, sample.check.detail) == (verdict, f'payload "short": {detail}')
