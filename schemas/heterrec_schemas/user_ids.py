"""Hashed user ids: what stands for a user in a generation whose spec names a key (`users.hash_key`).

The hash is HMAC-SHA256, cut to 128 bits, of a word for its purpose and the text of the id. The key is in an environment
variable; no object here that can be printed or pickled holds it.
"""

import hmac
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from heterrec_schemas.errors import CallError
from heterrec_schemas.values import value_text

KEY_BYTES = 16
"""Minimum length of a key."""
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
"""The names of variables that may hold a key."""
_DIGITS = 32
"""Hexadecimal digits of a hash: 128 bits."""
_MAKE_ONE = "Make one by `openssl rand -hex 32`, and keep it where other secrets are kept."
_USER, _CELL, _FINGERPRINT = b"user:", b"cell:", b"fingerprint:"
"""The words for the purposes: none begins with another, so that no hash of one is a hash of another."""


Id = TypeVar("Id", bound=int | str)


class KeyedHash:
    """The hashes of one key."""

    def __init__(self, key: str | bytes, name: str = "the key") -> None:
        """Take a key of at least 16 bytes; a text is taken in UTF-8.

        Raises:
            CallError: it is shorter; `name` stands for it in the message.
        """
        secret = key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key
        if len(secret) < KEY_BYTES:
            raise CallError(
                f"{name} is too short to hash user ids",
                got=f"{len(secret)} bytes",
                expected=f"at least {KEY_BYTES} random bytes",
                todo=_MAKE_ONE,
            )
        self._keyed = hmac.new(secret, digestmod="sha256")

    def user(self, text: str) -> str:
        """The hash of the cleaned text of a user id: 32 hexadecimal digits."""
        return self._hash(_USER, text)

    def cell(self, text: str) -> str:
        """The hash of the text of a rejected cell."""
        return self._hash(_CELL, text)

    @property
    def fingerprint(self) -> str:
        """What tells this key from others: the hash of a constant, from which the key cannot be computed."""
        return self._hash(_FINGERPRINT, "")

    def _hash(self, purpose: bytes, text: str) -> str:
        made = self._keyed.copy()
        made.update(purpose + text.encode("utf-8"))
        return made.hexdigest()[:_DIGITS]


@dataclass(frozen=True)
class UserKey:
    """Which key hashes the user ids, and where it is: not the key itself, so that a job may hold it.

    Attributes:
        variable: the environment variable.
        fingerprint: of the key.
    """

    variable: str
    fingerprint: str

    @property
    def hashes(self) -> KeyedHash:
        """The hashes of the key, which this process reads from its own environment.

        Raises:
            CallError: this process has no such variable, or one with another key.
        """
        return _hashes(self)


@lru_cache(maxsize=8)
def _hashes(key: UserKey) -> KeyedHash:
    found = _from_environment(key.variable)
    if found.fingerprint != key.fingerprint:
        raise CallError(
            f"the environment variable {key.variable} of this process holds another key for user ids",
            got=f"fingerprint {found.fingerprint}",
            expected=key.fingerprint,
            todo="Give every process the same key, without a line break at its end.",
        )
    return found


def find_user_key(variable: str) -> UserKey:
    """The key in an environment variable.

    Raises:
        CallError: there is no such variable, or its value is too short.
    """
    return UserKey(variable, _from_environment(variable).fingerprint)


def _from_environment(variable: str) -> KeyedHash:
    secret = os.environ.get(variable)
    if secret is None:
        raise CallError(
            f"users.hash_key: there is no environment variable {variable}",
            expected=f"the key of the hashes of user ids in it, of at least {KEY_BYTES} bytes",
            todo=f"Set it for the command and, on other machines, for every worker. {_MAKE_ONE}",
        )
    return KeyedHash(secret, f"users.hash_key: the value of the environment variable {variable}")


def hash_user(user_id: int | str, key: str | bytes) -> str:
    """The id that a generation with hashed user ids has for a user.

    Args:
        user_id: the id in the input; 7 and "7" are the same user.
        key: the key whose environment variable `users.hash_key` names; a text is taken in UTF-8.

    Returns:
        32 lower-case hexadecimal digits.

    Raises:
        CallError: the id is missing (an empty text), or the key has less than 16 bytes.
    """
    text = value_text(user_id)
    if text is None:
        raise CallError("an empty user id has no hash", expected="the id of a user")
    return KeyedHash(key).user(text)


def id_in_generation(user_id: Id, key: UserKey | None) -> Id | str:
    """The id under which a generation has a user.

    Args:
        user_id: the id in the input; of a generation with hashed ids, without their key in the environment, the hashed id.
        key: the key of the generation; None if its user ids are not hashed.

    Raises:
        CallError: the environment has another key, or one that is too short.
    """
    text = value_text(user_id)
    if key is None or text is None or key.variable not in os.environ:
        return user_id
    return key.hashes.user(text)


def which_id(key: UserKey) -> str:
    """Which id `id_in_generation` has taken, for the message that there is no such user."""
    if key.variable in os.environ:
        return f"This is the hash of the given id by the key in {key.variable}."
    return f"User ids are hashed here: give the hash, or set {key.variable} and give the id of the input."
