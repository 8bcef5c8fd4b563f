"""An example of the settings file, made from the settings themselves, so that it is always complete.

Each setting has its description as a comment, and below it a line with its default, commented out; one without a
default has dots there. A secret has no such line: every user of the machine can read the file.
"""

from __future__ import annotations

import json
import textwrap
from typing import Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from cdc_bridge.settings import PREFIX, Settings
from cdc_bridge.settings_sources import CREDENTIALS_FOLDER

_HEAD = f"""\
# The settings of cdc-bridge, in TOML. Lines that begin with # are comments; the values in them are the defaults.
# Each setting can also come from a systemd credential, from the environment ({PREFIX}...) or, some of them, from a
# flag. A flag goes before the environment, that before a credential, and that before this file.
#
# Every user of this machine can read this file. A secret belongs in a file of its own, which root alone can read:
# the service takes each file in {CREDENTIALS_FOLDER} for the setting of its name.
"""
_WIDTH = 112
_BOUNDS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}


def settings_example() -> str:
    """Return the text of the file."""
    return "\n".join([_HEAD, *(_block(name, field) for name, field in Settings.model_fields.items())])


def is_secret(field: FieldInfo) -> bool:
    """Return whether a setting's value is a secret."""
    return SecretStr in {field.annotation, *get_args(field.annotation)}


def has_default(field: FieldInfo) -> bool:
    """Return whether a setting has a value when it is not set."""
    return not field.is_required() and field.default not in {None, ()}


def allowed(field: FieldInfo) -> str:
    """Return in words what a setting may be, where not everything of its type will do."""
    if get_origin(field.annotation) is Literal:
        return f"One of {', '.join(map(str, get_args(field.annotation)))}."
    bounds = {name: getattr(bound, name) for bound in field.metadata for name in _BOUNDS if hasattr(bound, name)}
    if bounds.keys() == {"ge", "le"}:
        return f"From {bounds['ge']:,} to {bounds['le']:,}."
    return ", ".join(f"{_BOUNDS[name]} {value:,}" for name, value in bounds.items()).capitalize() + "." * bool(bounds)


def described(field: FieldInfo) -> str:
    """Return what a setting means and may be, as sentences."""
    description = field.description or ""
    return f"{description}{'' if description.endswith('.') else '.'} {allowed(field)}".strip()


def _block(name: str, field: FieldInfo) -> str:
    description = textwrap.fill(described(field), _WIDTH, initial_indent="# ", subsequent_indent="# ")
    if is_secret(field):
        return f"{description}\n# A secret; its file: {CREDENTIALS_FOLDER / name}\n"
    # Strings, booleans and numbers are written in TOML as they are in JSON.
    default = json.dumps(field.default) if has_default(field) else '"..."'
    return f"{description}\n#{name} = {default}\n"
