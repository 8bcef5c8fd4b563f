"""Names the fixtures' plugins, one a role. What the fixtures hand out is defined in tests/support."""

import pytest

pytest.register_assert_rewrite("tests.support")

pytest_plugins = (
    "tests.support.fixtures.postgres",
    "tests.support.fixtures.receivers",
    "tests.support.fixtures.daemon",
    "tests.support.fixtures.web",
    "tests.support.fixtures.faults",
)
