"""A file of certificates is tried once for the same contents, however many endpoints name it."""

from __future__ import annotations

import ssl
from pathlib import Path
from shutil import copy

import pytest

from cdc_bridge.endpoints.option_values import ca_file_path
from tests.support.certificates import Certificates


def test_file_is_judged_by_what_it_holds_now(certificates: Certificates, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    for _ in range(2):
        copy(certificates.ca_file, ca_file)
        assert ca_file_path(str(ca_file)) == ca_file
        ca_file.write_text("no certificate")
        with pytest.raises(ValueError, match="holds no PEM certificate"):
            ca_file_path(str(ca_file))
        ca_file.unlink()
        with pytest.raises(ValueError, match="cannot be read"):
            ca_file_path(str(ca_file))


def test_file_that_many_endpoints_name_is_loaded_once(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[object] = []
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda _, path: loaded.append(path))
    ca_file = tmp_path / "ca.pem"
    copy(certificates.ca_file, ca_file)
    for _ in range(1000):
        ca_file_path(str(ca_file))
    assert loaded == [ca_file]
