"""Delete one finished generation, such that no reader, publisher or pin is cheated, whatever happens at the same time.

A purge marks the generation by a lease in its folder, then looks for leases, pins and `latest.json`, and then deletes the
manifest. Readers write their lease, pins their file, and publishers hold a reader's lease while they move `latest.json`; all
of them look for the mark afterwards (`await_purge`). So at least one of both sides notices the other. Once the manifest is
gone, the folder is a leftover like that of a killed build, and its mark is the lease that `sweep` looks at.
"""

from heterrec_pipeline.files import storage
from heterrec_pipeline.keeping.generations import pin_of, pin_path, readers_of
from heterrec_pipeline.publishing import lease
from heterrec_pipeline.publishing.latest import read_latest
from heterrec_schemas import leases
from heterrec_schemas.errors import HeterrecError, RunError
from heterrec_schemas.leases import LEASE_NAME
from heterrec_schemas.manifest import GENERATIONS, MANIFEST_NAME

LATEST, PINNED, LEASED, GONE = "latest", "pinned", "leased", "gone"
"""What may protect a generation (see `Listed.states`), or that another purge has deleted it."""


def remove(output: str, generation: str, *, pinned: bool = False) -> str | None:
    """Delete a finished generation, unless something protects it now: the manifest first, then its folder.

    Args:
        output: the folder for generations.
        generation: its id.
        pinned: whether pins do not count.

    Returns:
        What protects it, or GONE; None if this call has deleted it.

    Raises:
        RunError: it cannot be deleted, wholly or in part; what is left is no generation.
    """
    root = storage.join(output, GENERATIONS, generation)
    if not lease.mark(root):
        return LEASED
    if not storage.exists(storage.join(root, MANIFEST_NAME)):
        lease.discard(root)
        return GONE
    try:
        protection = _protection(output, generation, pinned=pinned)
        if protection is None:
            storage.delete_now(storage.join(root, MANIFEST_NAME))
    except BaseException:
        _unmark(root)
        raise
    if protection is not None:
        _unmark(root)
        return protection
    with lease.keep(root):
        lease.empty(root)
    lease.discard(root)
    _delete_rest(root)
    storage.delete_tree(readers_of(output, generation))
    storage.delete_files([pin_path(output, generation)])
    return None


def _delete_rest(root: str) -> None:
    """Delete what was left of a generation, its lease last; RunError with the storage's answer if that fails too."""
    mark = storage.join(root, LEASE_NAME)
    for path in sorted(storage.files_below(root), key=lambda p: (p == mark, p)):
        try:
            storage.delete_now(path)
        except HeterrecError as error:
            raise RunError(
                f"{root} is no generation any more, but files of it are left: "
                + error.message.rstrip("."),
                todo="Check the permissions, and purge again.",
            ) from error
    storage.delete_tree(root)


def _protection(output: str, generation: str, *, pinned: bool) -> str | None:
    """What protects a marked generation. Leases come before `latest.json`, which a publisher moves under a lease."""
    paths = storage.files_below(readers_of(output, generation))
    held = (leases.read_lease(path) for path in paths if path.endswith(".json"))
    if any(leases.lives(one.body) is not False for one in held if one.held is not None):
        return LEASED
    if not pinned and pin_of(output, generation) is not None:
        return PINNED
    return LATEST if read_latest(output).names == generation else None


def _unmark(root: str) -> None:
    """Remove the mark of a generation that stays, or the rest of one whose manifest was deleted before an error."""
    try:
        finished = storage.exists(storage.join(root, MANIFEST_NAME))
    except HeterrecError:  # the next sweep looks again
        return
    if finished:
        storage.delete_files([storage.join(root, LEASE_NAME)])
