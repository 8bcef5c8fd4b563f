"""Writes the generated parts of README, the guides and the map (``make man``): settings, metrics, fields, layers."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from cdc_bridge import metrics
from cdc_bridge.packaging.settings_example import has_default, is_secret
from cdc_bridge.runtime.metrics_collector import HealthCollector
from cdc_bridge.runtime.reload import RELOADABLE
from cdc_bridge.settings import PREFIX, Settings
from cdc_bridge.vendor.contract import form_in_contract, schema
from tests.bench.publishing import write_published_tables
from tests.support.generated import MAP, OPERATOR_GUIDE, PROJECT, VENDOR_GUIDE, replace_generated_part
from tests.support.overviews import NO_ENDPOINT

SETTINGS_PART = "settings"
METRICS_PART = "metrics"
LAYERS_PART = "layers"
FIELDS_PART = "fields"

_TYPES = {
    "text": ("text", ""),
    "key": ("key", ""),
    "keyOrNone": ('key or `""`', "if keys are integers"),
    "flag": ("flag", ""),
    "instant": ("time", "yes"),
    "count": ("integer", ""),
    "amount": ("amount", ""),
}
"""By form of the schema: the guide's word for it, and whether it can be null."""


def settings_table() -> str:
    """Return the table of all settings, in Markdown."""
    return "\n".join(
        [
            "| setting | default | takes effect | meaning |",
            "| --- | --- | --- | --- |",
            *(_row(name) for name in Settings.model_fields),
            "",
        ]
    )


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    default = f"`{str(field.default).lower()}`" if has_default(field) and not is_secret(field) else ""
    takes_effect = "reload" if name in RELOADABLE else "restart"
    meaning = (field.description or "").replace("|", r"\|")
    return f"| `{PREFIX}{name.upper()}` | {default} | {takes_effect} | {meaning} |"


def metrics_table() -> str:
    """Return the table of all metrics of our own, in Markdown."""
    rows = sorted(
        f"| `{name}` | {', '.join(f'`{label}`' for label in labels)} | {text} |" for name, labels, text in _metrics()
    )
    return "\n".join(["| metric | labels | meaning |", "| --- | --- | --- |", *rows, ""])


def _metrics() -> Iterator[tuple[str, tuple[str, ...], str]]:
    counted = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    for source in (*counted, HealthCollector(NO_ENDPOINT)):
        for family in source.collect():
            labels = getattr(source if source in counted else family, "_labelnames", ())
            yield family.name + ("_total" if family.type == "counter" else ""), tuple(labels), family.documentation


def fields_table() -> str:
    """Return the table of the fields of a body, in Markdown: the reservation's own, then those of what is nested."""
    properties = schema()["properties"]
    rows = [_field(key, value) for key, value in properties.items()]
    for key, value in properties.items():
        rows += [_field(f"{key}.{nested}", inner) for nested, inner in value.get("properties", {}).items()]
    return "\n".join(["| field | type | null | meaning |", "| --- | --- | --- | --- |", *rows, ""])


def _field(name: str, value: dict[str, Any]) -> str:
    type_, null = ("object", "yes") if "properties" in value else _TYPES[form_in_contract(value)]
    meaning = f"{value['title']}. {value.get('description', '')}".strip().replace("|", r"\|")
    return f"| `{name}` | {type_} | {null} | {meaning} |"


def layers() -> str:
    """Return the layers of import-linter, highest first, as a block of text."""
    tools = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    (contract,) = (found for found in tools["importlinter"]["contracts"] if found["type"] == "layers")
    rows = (row.replace("cdc_bridge.", "").replace(" | ", "  ") for row in contract["layers"])
    return "\n".join(["```", *rows, "```", ""])


def main() -> None:
    """Write the generated parts into the documents."""
    replace_generated_part(MAP, LAYERS_PART, layers())
    replace_generated_part(OPERATOR_GUIDE, SETTINGS_PART, settings_table())
    replace_generated_part(OPERATOR_GUIDE, METRICS_PART, metrics_table())
    replace_generated_part(VENDOR_GUIDE, FIELDS_PART, fields_table())
    write_published_tables()


if __name__ == "__main__":
    main()
