import hashlib
import hmac
import pickle

import pytest

from heterrec_schemas import hash_user
from heterrec_schemas.errors import CallError
from heterrec_schemas.user_ids import KeyedHash, UserKey, find_user_key, id_in_generation

KEY = "a key of 16 bytes and more"
NAME = "TEST_USER_KEY"


def by_hand(purpose: str, text: str, key: str = KEY) -> str:
    return hmac.digest(key.encode(), f"{purpose}:{text}".encode(), hashlib.sha256).hex()[:32]


def test_the_hash_is_hmac_of_the_text_of_the_id() -> None:
    assert hash_user("u7", KEY) == by_hand("user", "u7")
    assert hash_user(7, KEY) == hash_user(" 7 ", KEY.encode()) == by_hand("user", "7")
    assert hash_user("cafe\u0301", KEY) == by_hand("user", "caf\u00e9")
    assert hash_user("7", KEY + "!") != hash_user("7", KEY)
    assert hash_user("7", KEY * 9) == by_hand("user", "7", KEY * 9), "longer than a block"


def test_the_purposes_have_different_hashes() -> None:
    hashes = KeyedHash(KEY)
    assert hashes.cell("7") == by_hand("cell", "7")
    assert hashes.fingerprint == by_hand("fingerprint", "")
    assert len({hashes.user(""), hashes.cell(""), hashes.fingerprint}) == 3


@pytest.mark.parametrize("key", ["", "fifteen bytes !", b"0" * 15])
def test_a_short_key_is_refused_without_being_repeated(key: str | bytes) -> None:
    with pytest.raises(CallError, match=r"too short.*expected at least 16 random bytes") as error:
        hash_user("u", key)
    assert not key or str(key) not in error.value.message


def test_an_empty_id_has_no_hash() -> None:
    with pytest.raises(CallError, match="an empty user id has no hash"):
        hash_user("  ", KEY)


def test_the_key_is_read_from_the_environment_and_never_pickled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(NAME, KEY)
    key = find_user_key(NAME)
    assert key == UserKey(NAME, KeyedHash(KEY).fingerprint)
    assert key.hashes.user("u") == hash_user("u", KEY)
    stored = pickle.dumps(key)
    assert KEY.encode() not in stored
    assert KEY not in repr(key) + repr(key.hashes) + repr(vars(key.hashes))
    with pytest.raises(TypeError):
        pickle.dumps(key.hashes)


def test_a_process_with_another_key_or_without_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = UserKey(NAME, KeyedHash(KEY + "1").fingerprint)
    monkeypatch.delenv(NAME, raising=False)
    for refused in (lambda: key.hashes, lambda: find_user_key(NAME)):
        with pytest.raises(CallError, match=f"there is no environment variable {NAME}"):
            refused()
    monkeypatch.setenv(NAME, KEY)
    with pytest.raises(CallError, match=f"{NAME} of this process holds another key") as error:
        assert key.hashes
    assert KEY not in error.value.message


def test_an_id_is_hashed_where_the_generation_and_the_environment_have_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(NAME, KEY)
    key = find_user_key(NAME)
    assert id_in_generation(7, None) == 7
    assert id_in_generation(7, key) == id_in_generation("7", key) == hash_user(7, KEY)
    monkeypatch.delenv(NAME)
    assert id_in_generation("7", key) == "7"
