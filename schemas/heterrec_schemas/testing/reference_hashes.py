"""The reference's hashes: of user ids, and of the texts of rejects."""

import hashlib
import hmac
import os
from dataclasses import dataclass, replace

from heterrec_schemas.testing.reference_values import (
    RawTable,
    RefusedError,
    Row,
    check_key,
    key_of,
    text_of,
)


@dataclass(frozen=True)
class Hashes:
    """The key of a spec, and what rejects tell."""

    key: bytes | None
    values: str

    def user_id(self, text: str) -> str:
        """The hash of a user id."""
        return self._hash("user:" + text)

    def told(self, value: str | None) -> str | None:
        """What `rejects/` has of a value."""
        if self.values == "full":
            return value
        text = text_of(value)
        return None if text is None or self.values == "none" else self._hash("cell:" + text)

    def _hash(self, text: str) -> str:
        assert self.key is not None
        return hmac.digest(self.key, text.encode("utf-8"), hashlib.sha256).hex()[:32]

    def without_ids(self, table: RawTable, column: str, missing_keys: list[object]) -> RawTable:
        """A table with hashes of user ids in a column."""
        if self.key is None:
            return table
        check_key(column, table.column(column))
        rows: list[Row | None] = []
        for row in table.rows:
            if row is not None and column in row:
                text = key_of(row[column], missing_keys)
                row = row | {column: None if text is None else self.user_id(text)}
            rows.append(row)
        return replace(table, rows=rows)


def read_hashes(spec: Row) -> Hashes:
    """The key that a spec names.

    Raises:
        RefusedError: there is none of 16 bytes.
    """
    values = spec.get("rejects", {}).get("values", "full")
    name = spec.get("users", {}).get("hash_key")
    if name is None:
        if values == "hashed":
            raise RefusedError("hashes of rejects without a key")
        return Hashes(None, values)
    key = os.environ.get(name, "").encode()
    if len(key) < 16:
        raise RefusedError(f"no key of 16 bytes in {name}")
    return Hashes(key, values)
