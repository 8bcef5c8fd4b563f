"""What ``receive`` says of a body that departs from the schema: where and what is expected, and nothing of the body."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from cdc_bridge.vendor.contract import EXAMPLES, example
from cdc_bridge.vendor.receive.violations import violations_of

SURNAME = "Fforde-Grenfell"


@pytest.mark.parametrize("name", EXAMPLES)
def test_there_is_none_in_the_contracts_examples(name: str) -> None:
    assert violations_of(orjson.dumps(example(name) | {"loyalty_points": 120})) == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cancelled": SURNAME}, '$.cancelled fails enum ["T","F"]'),
        ({"adults": SURNAME}, '$.adults fails type "integer"'),
        ({"notes": None}, '$.notes fails type "string"'),
        ({"call": SURNAME}, '$.call fails type ["object","null"]'),
        ({"id": SURNAME}, '$.id fails pattern "^[0-9A-F]{32}$"'),
        ({"datetime": "2021-02-30T22:30:00.000Z"}, '$.datetime fails format "date-time"'),
        ({"@restaurant_id": SURNAME}, '$ fails pattern "^[^@]"'),
    ],
)
def test_place_keyword_and_expectation_are_said(changes: dict[str, Any], told: str) -> None:
    assert violations_of(orjson.dumps(example() | changes)) == (told,)


def test_all_keys_that_a_level_lacks_are_one_and_a_few_are_named() -> None:
    reservation = example()
    del reservation["wheelchair"]
    reservation["customer"] = {SURNAME: SURNAME}
    assert violations_of(orjson.dumps(reservation)) == (
        "$ lacks wheelchair",
        "$.customer lacks id, title, firstname and 24 more",
    )


@pytest.mark.parametrize("body", [b"", b"{", b'{"adults": NaN}', b'"\xff"'])
def test_what_is_not_json_is_said_to_be_none(body: bytes) -> None:
    assert violations_of(body) == ("not JSON",)
