"""Check a manifest, then the files of a generation against it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import ValidationError

from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import CorruptGenerationError, FormatVersionError
from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    FeatureSpec,
    parse_spec,
    spec_sha256,
)
from heterrec_schemas.generation.folder import Folder
from heterrec_schemas.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    OWN_HASH,
    STATE,
    FileEntry,
    Manifest,
    content_sha256,
    manifest_sha256,
    table_stem,
)
from heterrec_schemas.tokens import FIRST_FREE, ITEM_VOCABULARY, feature_stem

Verify = Literal["hashes", "sizes"]
SPEC_NAME = "spec.yaml"
_SHOWN = 3
"""Number of differences that a message names."""
_READERS = 8
"""Number of files that are hashed at once."""
_OF_ROWS = {"missing", "oov", "begun", "fitted", "boundary_version"}
"""The fields of a feature's entry that do not follow from the spec and the sizes of its tables."""
AGAIN = "Build the generation again, or copy it again from a complete one."
"""What to do about a damaged generation."""


def read_manifest(folder: Folder) -> Manifest:
    """The manifest of a generation's folder.

    Raises:
        FormatVersionError: its format version is unknown to this release.
        CorruptGenerationError: it is not a manifest, was changed after it was written, or contradicts itself.
    """
    shown = folder.locate(MANIFEST_NAME)
    try:
        data = parse_json(folder.read_bytes(MANIFEST_NAME))
    except ValueError as error:
        raise CorruptGenerationError(f"{shown} is not JSON: {error}", todo=AGAIN) from None
    if not isinstance(data, dict) or "format_version" not in data:
        raise CorruptGenerationError(
            f"{shown} is not a manifest", expected="an object with format_version", todo=AGAIN
        )
    if data["format_version"] != FORMAT_VERSION:
        raise FormatVersionError(
            f"{shown}: unknown format version",
            got=data["format_version"],
            expected=FORMAT_VERSION,
            todo="Install the release of heterrec that wrote it, or build the generation again.",
        )
    _check_own_hash(shown, data)
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        found = [
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)
        ]
        raise CorruptGenerationError(
            f"{shown} is not a manifest: {_listed(found)}", todo=AGAIN
        ) from None
    _check_content(shown, manifest)
    return manifest


def read_spec(folder: Folder, manifest: Manifest) -> FeatureSpec:
    """The feature spec of a generation's build.

    Raises:
        CorruptGenerationError: it is not the spec of the manifest.
        SpecError: this release cannot read it.
    """
    shown = folder.locate(SPEC_NAME)
    try:
        raw = folder.read_bytes(SPEC_NAME)
    except FileNotFoundError:
        raise CorruptGenerationError(f"{shown} is absent", todo=AGAIN) from None
    text = raw.decode("utf-8", errors="replace")
    if (got := spec_sha256(text)) != manifest.spec_sha256:
        raise CorruptGenerationError(
            f"{shown} is not the spec of this generation",
            got=f"SHA-256 {got}",
            expected=manifest.spec_sha256,
            todo=AGAIN,
        )
    return parse_spec(text, where=shown)


def check_files(folder: Folder, manifest: Manifest, verify: Verify) -> None:
    """Compare the files in the folder with those that the manifest lists, except for `state/`, which no reader needs.

    Raises:
        CorruptGenerationError: some are absent, or have another size or SHA-256; the message counts
            them and names up to three.
    """
    files = [f for f in manifest.files if not f.path.startswith(f"{STATE}/")]
    sizes = folder.sizes([f.path for f in files])
    wrong = [
        f"{entry.path}: "
        + ("absent" if size is None else f"got {size} bytes, expected {entry.bytes}")
        for entry, size in zip(files, sizes, strict=True)
        if size != entry.bytes
    ]
    if not wrong and verify == "hashes":
        wrong = list(_other_hashes(folder, files))
    if wrong:
        count = f"{len(wrong)} of {len(files)} files"
        raise CorruptGenerationError(
            f"{folder.name}: {count} differ from {MANIFEST_NAME}: {_listed(wrong)}", todo=AGAIN
        )


def _other_hashes(folder: Folder, files: list[FileEntry]) -> Iterator[str]:
    with ThreadPoolExecutor(_READERS) as readers:
        hashes = readers.map(folder.sha256, [f.path for f in files])
        for entry, got in zip(files, hashes, strict=True):
            if got != entry.sha256:
                yield f"{entry.path}: got SHA-256 {got}, expected {entry.sha256}"


def check_features(folder: Folder, manifest: Manifest, spec: FeatureSpec) -> None:
    """Compare the features that the manifest lists with those of the spec, and their sizes with the tables that it lists.

    Raises:
        CorruptGenerationError: they differ.
    """
    got = [(entry.side, entry.name, entry.kind) for entry in manifest.features]
    sides = (("item", spec.items.features), ("user", spec.user_features))
    expected = [(side, f.name, f.kind) for side, features in sides for f in features]
    if sorted(got) != sorted(expected):
        raise CorruptGenerationError(
            f"{folder.locate(MANIFEST_NAME)} lists other features than {SPEC_NAME}",
            got=", ".join(" ".join(entry) for entry in sorted(got)),
            expected=", ".join(" ".join(entry) for entry in sorted(expected)),
            todo=AGAIN,
        )
    rows = _rows_of_tables(manifest)
    wrong = list(_other_sizes(manifest, spec, rows))
    if wrong:
        raise CorruptGenerationError(
            f"{folder.locate(MANIFEST_NAME)} contradicts {SPEC_NAME} and its own list of tables: {_listed(wrong)}",
            todo=AGAIN,
        )


def _rows_of_tables(manifest: Manifest) -> dict[str, int]:
    """The rows of tables, all shards together, by name: `vocabularies/brand`."""
    rows: dict[str, int] = {}
    for entry in manifest.files:
        table = table_stem(entry.path)
        rows[table] = rows.get(table, 0) + (entry.rows or 0)
    return rows


def _other_sizes(manifest: Manifest, spec: FeatureSpec, rows: dict[str, int]) -> Iterator[str]:
    """The sizes in the manifest that do not follow from spec and tables, in words."""
    items = spec.first_item_index + rows.get(f"vocabularies/{ITEM_VOCABULARY}", 0)
    if manifest.item_vocabulary_size != items:
        yield f"item_vocabulary_size: got {manifest.item_vocabulary_size}, expected {items}"
    for entry in manifest.features:
        stem = feature_stem(entry.side, entry.name)
        feature = spec.named_features[stem]
        size = rows.get(f"boundaries/{stem}", 0)
        if isinstance(feature, CategoricalFeature):
            values = rows.get(f"vocabularies/{stem}", 0)
            size = values and FIRST_FREE + feature.oov_buckets + values
        found = entry.model_dump(exclude=_OF_ROWS)
        if entry.kind == "embedding":
            found["quantizer"] = entry.quantizer or "quantile"  # earlier releases did not name it
        for name, expected in feature.entry(entry.side, size).model_dump(exclude=_OF_ROWS).items():
            if (got := found[name]) != expected:
                yield f"features {entry.name}: {name}: got {got}, expected {expected}"


def _check_own_hash(shown: str, data: dict[str, Any]) -> None:
    """Compare a manifest with its own hash; one of an earlier release has none, and only keys that are known here."""
    if OWN_HASH in data:
        if (got := manifest_sha256(data)) != data[OWN_HASH]:
            raise CorruptGenerationError(
                f"{shown} was changed after it was written",
                got=f"SHA-256 {got}",
                expected=data[OWN_HASH],
                todo=AGAIN,
            )
        return
    unknown = sorted(set(data) - set(Manifest.model_fields))
    if unknown:
        raise CorruptGenerationError(
            f"{shown} has no {OWN_HASH}, but the unknown key {unknown[0]!r}", todo=AGAIN
        )


def _check_content(shown: str, manifest: Manifest) -> None:
    for path in (f.path for f in manifest.files):
        if PurePosixPath(path).is_absolute() or ".." in path.split("/") or "\\" in path:
            raise CorruptGenerationError(f"{shown} lists {path!r}, outside its folder")
    if (got := content_sha256(manifest.files)) != manifest.content_sha256:
        raise CorruptGenerationError(
            f"{shown}: content_sha256 is not that of the files it lists",
            got=manifest.content_sha256,
            expected=got,
            todo=AGAIN,
        )


def _listed(found: list[str]) -> str:
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more
