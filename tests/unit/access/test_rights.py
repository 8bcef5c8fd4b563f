"""Rights and their order."""

from __future__ import annotations

import pytest

from cdc_bridge.access.rights import Right


@pytest.mark.parametrize("right", Right)
def test_each_right_includes_itself_and_those_before_it(right: Right) -> None:
    order = [Right.VIEW, Right.CONTENT, Right.CHANGE]
    assert [other for other in Right if right.includes(other)] == order[: order.index(right) + 1]
