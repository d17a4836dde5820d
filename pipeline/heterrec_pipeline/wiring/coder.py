"""Arrow tables as Beam elements: encoded as Arrow IPC streams (see docs/adr/0004-ipc-coder.md)."""

from typing import Any

import apache_beam as beam
import pyarrow as pa

from heterrec_schemas.errors import RunError

MAX_BYTES = 2**31 - 2**20
"""Maximum size of a table as one element, in bytes: engines hold an element as one message of less than 2 GB."""


def too_large(table: pa.Table) -> RunError:
    """The error for a table that is too large for one element."""
    return RunError(
        "a table is too large to be passed from one step to the next",
        got=f"{len(table):,} rows of {', '.join(table.column_names)}: {table.nbytes:,} bytes",
        expected=f"at most {MAX_BYTES:,} bytes",
        todo="This release does not support a catalogue or vocabulary of this size.",
    )


class TableCoder(beam.coders.Coder):
    """Arrow IPC, one stream per table. Beam's default would pickle the parent buffers of every slice."""

    def encode(self, value: pa.Table) -> bytes:
        """A table as an IPC stream."""
        if value.nbytes > MAX_BYTES:
            raise RuntimeError(too_large(value).to_wire())
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_table(value)
        encoded: bytes = sink.getvalue().to_pybytes()
        return encoded

    def decode(self, encoded: bytes) -> pa.Table:
        """A table that refers to the given bytes without copying them."""
        return pa.ipc.open_stream(pa.py_buffer(encoded)).read_all()

    def estimate_size(self, value: pa.Table) -> int:
        """Approximate size of the stream in bytes. Engines ask between fused steps, too; Beam's default would encode."""
        return int(value.nbytes)

    def is_deterministic(self) -> bool:
        """True: the stream depends on the table's buffers only."""
        return True

    def to_type_hint(self) -> Any:
        """The type of the elements."""
        return pa.Table


def register() -> None:
    """Register `TableCoder` for the type hint `pa.Table`."""
    beam.coders.registry.register_coder(pa.Table, TableCoder)
