"""Encryption of one text: by the standard's vector and one of our own, for what it belongs to, and by several keys."""

from __future__ import annotations

import sys
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis.strategies import lists, text

from cdc_bridge.endpoints.secrets_cipher import NO_KEYS, SecretsCipher, Undecryptable, key_id_of, keys_in

FIRST, SECOND = bytes(range(32)), bytes(range(32, 64))
BELONGS_TO = ("till", "headers", "X-Api-Key: ", "", "https://till.example:443")

# A daemon of any later version has to read this: it is what this version writes.
OF_THIS_VERSION = "encrypted1.630dcd29.AAAAAAAAAAAAAAAAYtnB89hJrtRmNLLDfftX4lPj411ZNWlhUQ"


def with_keys(*keys: bytes) -> SecretsCipher:
    return SecretsCipher(keys)


def test_it_is_aes_256_gcm() -> None:
    """Test case 16 of McGrew and Viega, "The Galois/Counter Mode of Operation"."""
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
    (aead,) = with_keys(key)._aeads.values()
    plain = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    encrypted = bytes.fromhex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        "76fc6ece0f4e1768cddf8853bb2d551b"
    )
    nonce, associated = (
        bytes.fromhex("cafebabefacedbaddecaf888"),
        bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
    )
    assert aead.encrypt(nonce, plain, associated) == encrypted
    assert aead.decrypt(nonce, encrypted, associated) == plain


def test_what_this_version_writes_is_read() -> None:
    assert SecretsCipher([FIRST], random=bytes).encrypt("let-me-in", *BELONGS_TO) == OF_THIS_VERSION
    assert with_keys(FIRST).decrypt(OF_THIS_VERSION, *BELONGS_TO) == "let-me-in"


@given(text(), lists(text("abc:/ ")))
def test_any_text_comes_back(secret: str, belongs_to: list[str]) -> None:
    cipher = with_keys(FIRST)
    encrypted = cipher.encrypt(secret, *belongs_to)
    assert key_id_of(encrypted) == cipher.newest
    assert cipher.decrypt(encrypted, *belongs_to) == secret


def test_equal_texts_do_not_look_alike() -> None:
    cipher = with_keys(FIRST)
    assert len({cipher.encrypt("let-me-in", *BELONGS_TO) for _ in range(100)}) == 100


@pytest.mark.parametrize("place", range(len(BELONGS_TO)))
def test_text_cannot_be_moved_elsewhere(place: int) -> None:
    elsewhere = [*BELONGS_TO]
    elsewhere[place] += "x"
    with pytest.raises(Undecryptable, match="written for another endpoint, server or option"):
        with_keys(FIRST).decrypt(OF_THIS_VERSION, *elsewhere)


def test_parts_of_what_it_belongs_to_do_not_run_together() -> None:
    encrypted = with_keys(FIRST).encrypt("let-me-in", "a", "bc")
    with pytest.raises(Undecryptable):
        with_keys(FIRST).decrypt(encrypted, "ab", "c")


@pytest.mark.parametrize("place", range(len("encrypted1.630dcd29."), len(OF_THIS_VERSION)))
def test_no_character_can_be_changed_or_cut_off(place: int) -> None:
    other = "B" if OF_THIS_VERSION[place] == "A" else "A"
    for changed in (OF_THIS_VERSION[:place] + other + OF_THIS_VERSION[place + 1 :], OF_THIS_VERSION[: place + 1]):
        if changed == OF_THIS_VERSION:
            continue
        with pytest.raises(Undecryptable, match="cannot be decrypted with key 630dcd29: it was changed") as error:
            with_keys(FIRST).decrypt(changed, *BELONGS_TO)
        assert changed.rpartition(".")[2] not in str(error.value)


def test_first_key_encrypts_and_all_decrypt() -> None:
    before, after = with_keys(FIRST), with_keys(SECOND, FIRST)
    of_before, of_after = before.encrypt("old", "till"), after.encrypt("new", "till")
    assert (key_id_of(of_before), key_id_of(of_after)) == (before.newest, after.newest)
    assert [after.decrypt(text, "till") for text in (of_before, of_after)] == ["old", "new"]
    with pytest.raises(Undecryptable, match=f"with key {after.newest}, which is not in secrets_key_file"):
        before.decrypt(of_after, "till")
    assert with_keys(FIRST, SECOND).decrypt(of_after, "till") == "new"


def test_without_keys_texts_stay_plain_and_encrypted_ones_are_not_taken_for_plain() -> None:
    assert NO_KEYS.encrypt("let-me-in", "till") == NO_KEYS.decrypt("let-me-in", "till") == "let-me-in"
    with pytest.raises(Undecryptable, match="with key 630dcd29, and the setting secrets_key_file is not set"):
        NO_KEYS.decrypt(OF_THIS_VERSION, *BELONGS_TO)


def test_what_is_encrypted_is_not_encrypted_again() -> None:
    assert with_keys(SECOND).encrypt(OF_THIS_VERSION, "till") == OF_THIS_VERSION


def test_package_is_needed_for_keys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    SecretsCipher()
    with pytest.raises(ModuleNotFoundError):
        with_keys(FIRST)


def test_file_of_keys_has_one_on_each_line() -> None:
    one, other = (b64encode(key).decode() for key in (FIRST, SECOND))
    assert keys_in(f"# of 2026-12\n{one}\n\n  {other}  \r\n") == [FIRST, SECOND]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "has no key in it"),
        ("# a comment\n", "has no key in it"),
        ("\n" + b64encode(b"s" * 31).decode(), "32 random bytes in base64 on line 2"),
        ("no base64 at all", "32 random bytes in base64 on line 1"),
        ("whsec_" + b64encode(FIRST).decode(), "32 random bytes in base64 on line 1"),
    ],
)
def test_file_that_holds_something_else_is_rejected_and_not_repeated(content: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        keys_in(content)
    assert content.strip() not in str(error.value) or not content.strip()
