"""Publish a generation by hand: a rollback, or a refresh that was not published by itself."""

import secrets

from heterrec_pipeline.keeping.generations import existing, output_folder
from heterrec_pipeline.publishing.latest import publish_named, read_latest
from heterrec_schemas.errors import CallError
from heterrec_schemas.generation import Verify, open_generation
from heterrec_schemas.generation.find_generation import find_generation
from heterrec_schemas.leases import reader_lease
from heterrec_schemas.manifest import GENERATION_ID


def publish(
    output: str, generation: str, expect: str | None = None, verify: Verify = "hashes"
) -> str | None:
    """Let `latest.json` name a finished generation.

    Args:
        output: the folder for generations.
        generation: its id.
        expect: the generation that `latest.json` must name; by default the one that it names when this begins.
        verify: how the files of the generation are compared with its manifest.

    Returns:
        The generation that `latest.json` named before.

    Raises:
        CallError: there is no such generation, or `expect` is no id.
        GenerationError: it is unfinished or damaged.
        NotPublishedError: `latest.json` names another generation than expected.
        RunError: the store does not respond, or a purge is deleting the generation.
    """
    if expect is not None and not GENERATION_ID.fullmatch(expect):
        raise CallError("--expect", got=repr(expect), expected="the id of a generation")
    output = output_folder(output)
    root = existing(output, generation)
    find_generation(root)
    before = read_latest(output).names
    attempt = secrets.token_hex(4)
    # No purge may delete it between the check and the move.
    with reader_lease(root, "publish", required=True):
        if expect in (None, before):
            open_generation(root, verify=verify)
        publish_named(output, generation, attempt, before if expect is None else expect)
    return before
