"""Check of the secrets in the database: whether they are encrypted, and with keys that are here."""

from __future__ import annotations

from cdc_bridge.checks.verdict import Check, Connection, failed, ok, records, warning
from cdc_bridge.errors import SettingsError
from cdc_bridge.settings import Settings

_NAME = "encryption"
_ENCRYPT = "Run: cdc-bridge endpoint encrypt-secrets"


async def check_encryption(connection: Connection, settings: Settings) -> Check:
    """Each secret of an endpoint is encrypted with the newest key, if there are keys."""
    try:
        keys = settings.secrets_cipher().key_ids
    except SettingsError as error:
        return failed(_NAME, error.problem, error.remedy)
    return judged(dict(await records(connection, "keys_in_use")), keys)


def judged(in_use: dict[str | None, int], keys: tuple[str, ...]) -> Check:
    """Return the check's result.

    Args:
        in_use: How many secrets are encrypted with which key; ``None``: with none.
        keys: The names of the keys that are here, that of the newest first.
    """
    plain = in_use.get(None, 0)
    encrypted = {key_id: number for key_id, number in in_use.items() if key_id is not None}
    total = plain + sum(encrypted.values())
    if not keys:
        if encrypted:
            return warning(
                _NAME,
                f"{_told(encrypted)}, and secrets_key_file is not set here",
                "Set CDC_BRIDGE_SECRETS_KEY_FILE to the file that the daemon has.",
            )
        return ok(_NAME, f"off; secrets of endpoints in plain text: {total:,}")
    if unknown := {key_id: number for key_id, number in encrypted.items() if key_id not in keys}:
        return failed(
            _NAME,
            f"{_told(unknown)}, not in secrets_key_file: their endpoints get nothing",
            "Add that key to the file and restart the daemon; or set those secrets anew: cdc-bridge guide operator",
        )
    if older := {key_id: number for key_id, number in encrypted.items() if key_id != keys[0]}:
        return warning(_NAME, f"{_told(older)}, not the newest, which is {keys[0]}; plain text: {plain:,}", _ENCRYPT)
    if plain:
        return warning(_NAME, f"secrets of endpoints in plain text: {plain:,} of {total:,}", _ENCRYPT)
    return ok(_NAME, f"all secrets of endpoints, {total:,}, are encrypted with key {keys[0]}")


def _told(encrypted: dict[str, int]) -> str:
    each = ", ".join(f"{number:,} with key {key_id}" for key_id, number in encrypted.items())
    return f"encrypted secrets of endpoints: {each}"
