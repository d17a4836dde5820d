"""Pins: generations that no purge deletes."""

import secrets
from datetime import UTC, datetime
from typing import Any

from heterrec_pipeline.files import storage
from heterrec_pipeline.keeping.generations import existing, output_folder, pin_of, pin_path
from heterrec_pipeline.telemetry.clock import utc_text
from heterrec_schemas.generation.find_generation import find_generation
from heterrec_schemas.leases import as_text, await_purge


def pin(output: str, generation: str, reason: str | None = None) -> dict[str, Any]:
    """Pin a finished generation; a new reason replaces the old one.

    Args:
        output: the folder for generations.
        generation: its id.
        reason: a text for people.

    Returns:
        The content of the pin: generation, reason, time.

    Raises:
        CallError: there is no such generation.
        UnfinishedGenerationError: it has no manifest.
        RunError: the pin cannot be written.
    """
    output = output_folder(output)
    root = existing(output, generation)
    find_generation(root)
    path, before = pin_path(output, generation), pin_of(output, generation)
    body = {"generation": generation, "reason": reason, "time": utc_text(datetime.now(UTC))}
    storage.replace_bytes(path, as_text(body), secrets.token_hex(4))
    try:
        await_purge(root)
    except BaseException:
        if before is None:
            storage.delete_now(path)
        raise
    return body


def unpin(output: str, generation: str) -> bool:
    """Remove a generation's pin; whether it had one.

    Raises:
        CallError: there is neither such a generation nor such a pin.
        RunError: the pin cannot be deleted.
    """
    output = output_folder(output)
    pinned = pin_of(output, generation) is not None
    if not pinned:
        existing(output, generation)
    storage.delete_now(pin_path(output, generation))
    return pinned
