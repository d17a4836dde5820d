"""Whether a refresh would repeat its parent: same input, same spec, no refit."""

from heterrec_pipeline.building.config import BuildConfig, BuildResult
from heterrec_pipeline.checking.changes import without_vocabularies
from heterrec_pipeline.checking.check import check_tables
from heterrec_pipeline.checking.parent import find_parent
from heterrec_pipeline.reading.fingerprints import hash_inputs
from heterrec_schemas.generation.verify import read_manifest, read_spec


def unchanged(config: BuildConfig) -> BuildResult | None:
    """The parent as the result of a refresh with `skip_unchanged`, if nothing has changed; nothing is written.

    Raises:
        HeterrecError: there is no parent, or a file of it or of the input cannot be read.
    """
    if config.base is None or not config.skip_unchanged or config.refit:
        return None
    folder = find_parent(config.base)
    manifest = read_manifest(folder)
    if read_spec(folder, manifest) != config.spec:
        return None
    begun = [
        f"{f.side}/{f.name}"
        for f in manifest.features
        if f.begun not in (None, manifest.generation)
    ]
    checked = check_tables(without_vocabularies(config.spec, begun), config.input)
    if checked.user_key != manifest.user_key:
        return None
    files = checked.input_files()
    if checked.problems or {(f.name, f.bytes) for f in files} != {
        (entry.path, entry.bytes) for entry in manifest.inputs
    }:
        return None
    if sorted(hash_inputs(files), key=lambda i: i.path) != sorted(
        manifest.inputs, key=lambda i: i.path
    ):
        return None
    return BuildResult(folder.path, manifest, [], skipped=True)
