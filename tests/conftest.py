"""Only a list: each family of fixtures is a plugin of its own."""

pytest_plugins = (
    "tests.support.signals",
    "tests.support.server",
    "tests.support.databases",
    "tests.support.certificates",
    "tests.support.contract",
    "tests.support.receiver",
    "tests.support.bridge",
    "tests.support.endpoints",
    "tests.support.page",
    "tests.support.proxy",
    "tests.support.figures",
    "tests.support.load",
    "tests.support.raw_receiver",
)
