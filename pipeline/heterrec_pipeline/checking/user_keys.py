"""The key of the hashes of user ids: from the environment, and the same as the parent's."""

from collections.abc import Iterator

from heterrec_pipeline.parent import Parent
from heterrec_schemas.errors import CallError, HeterrecError, SpecError
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.user_ids import UserKey, find_user_key

_BUILD = "or build anew: the users of both generations would have nothing in common."


def user_key_of(spec: FeatureSpec, problems: list[HeterrecError]) -> UserKey | None:
    """The key that a spec names; None if it names none, or if `problems` says what is wrong with the key."""
    if spec.hash_key is None:
        return None
    try:
        return find_user_key(spec.hash_key)
    except CallError as error:
        problems.append(error)
        return None


def refused_key(parent: Parent, spec: FeatureSpec, key: UserKey | None) -> Iterator[HeterrecError]:
    """The mistake in the key of a refresh, if there is one.

    Args:
        parent: the generation to continue.
        spec: the spec of the refresh.
        key: its key; None if it names none, or its key cannot be used.
    """
    before = parent.user_key
    if before is None and spec.hash_key is not None:
        yield SpecError(
            "users.hash_key: the user ids of the parent are not hashed",
            todo=f"Leave hash_key out, {_BUILD}",
        )
    elif before is not None and spec.hash_key is None:
        yield SpecError(
            "users.hash_key: the user ids of the parent are hashed",
            got="no hash_key",
            expected=before.variable,
            todo=f"Name it, {_BUILD}",
        )
    elif before is not None and key is not None and before.fingerprint != key.fingerprint:
        yield CallError(
            f"The key in {key.variable} is not that of the parent, which was read from {before.variable}",
            got=f"fingerprint {key.fingerprint}",
            expected=before.fingerprint,
            todo=f"Set {key.variable} to the parent's key, without a line break at its end, {_BUILD}",
        )
