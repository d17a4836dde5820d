"""Hugging Face `datasets`: a `DatasetDict`, a folder for the hub, and its card."""

from pathlib import Path
from typing import Any

import yaml

from heterrec_schemas.errors import CallError
from heterrec_schemas.generation import Generation
from heterrec_schemas.views.libraries import library
from heterrec_schemas.views.new_folder import new_folder

CONFIGS = {
    "train": ("train",),
    "evaluation": ("validation", "test"),
    "latest": ("latest",),
}
"""Configurations to splits of sequences: those of one configuration have the same columns."""
COPIED = (
    "items",
    "retired",
    "sequences",
    "vocabularies",
    "boundaries",
    "quantizers",
    "item_counts",
)
"""Folders of a generation that are copied; rejects/ and state/ are not, since they have rows of the input."""
_CHUNK = 2**22
"""Bytes that are copied at a time."""


def to_huggingface(generation: Generation, *, streaming: bool = False) -> Any:
    """The sequences and items of a generation, by name: train, validation, test, latest and items.

    Args:
        generation: on a local disk.
        streaming: read the shards on iteration, as an `IterableDatasetDict`; otherwise `datasets` first converts them in its
            cache, shard by shard, and maps the result into memory.

    Returns:
        A `DatasetDict`, or `IterableDatasetDict`. Columns differ between its members, so `push_to_hub` refuses it: publish
        the folder that `write_huggingface` writes. A split without rows has an empty `Dataset`.

    Raises:
        CallError: datasets is not installed, or the generation is in an object store.
    """
    datasets = library("datasets", "datasets")
    if "://" in generation.folder.path:
        raise CallError(
            "the generation", got=generation.root, expected="a local folder", todo="Copy it first."
        )
    paths = {s: generation.sequence_shards(s) for splits in CONFIGS.values() for s in splits}
    paths["items"] = generation.item_shards()
    found = {}
    for name, shards in paths.items():
        files = [f"{generation.folder.path}/{path}" for path in shards]
        if not streaming and not _rows(generation, shards):
            found[name] = datasets.Dataset(generation.read(shards))
        else:
            found[name] = datasets.load_dataset(
                "parquet", data_files={name: files}, split=name, streaming=streaming
            )
    return (datasets.IterableDatasetDict if streaming else datasets.DatasetDict)(found)


def dataset_card(generation: Generation) -> str:
    """The README.md of a folder of `write_huggingface`: a YAML header with the configurations, then a description.

    It declares no licence: that of the input decides.
    """
    configs: list[dict[str, Any]] = [
        {
            "config_name": name,
            "data_files": [{"split": s, "path": f"sequences/{s}-*.parquet"} for s in splits],
        }
        for name, splits in CONFIGS.items()
    ]
    configs[0]["default"] = True
    items = [{"split": "items", "path": "items/*.parquet"}]
    configs.append({"config_name": "items", "data_files": items})
    manifest = generation.manifest
    header = {
        "pretty_name": manifest.name,
        "tags": ["recommendation", "sequential-recommendation", "heterrec"],
        "configs": configs,
    }
    hashed = generation.spec.hash_key is not None
    lines = [
        "---",
        yaml.safe_dump(header, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        f"# {manifest.name}",
        "",
        f"Token tables of the HeterRec generation `{manifest.generation}`"
        f" (content `{manifest.content_sha256[:16]}`).",
        "",
        "| configuration | split | rows |",
        "|---|---|---|",
        *(
            f"| {name} | {split} | {_rows(generation, generation.sequence_shards(split)):,} |"
            for name, splits in CONFIGS.items()
            for split in splits
        ),
        f"| items | items | {_rows(generation, generation.item_shards()):,} |",
        "",
        "| feature | of | kind |",
        "|---|---|---|",
        *(f"| {f.name} | {f.side} | {f.kind} |" for f in manifest.features),
        "",
        "A row of `train` is a user's training history; `evaluation` has histories with their targets; `latest` has",
        f"the last {generation.spec.sequences.max_length} interactions of every user. Histories are lists, oldest first,",
        "of ids (`item_index`) and times (`timestamp_ms`, UTC). Tokens: 0 is padding, 1 a missing value; `vocabularies/`",
        "and `boundaries/` have the values.",
        "",
        f"User ids are {'keyed hashes' if hashed else 'those of the input, not hashed'}.",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'train = load_dataset("FOLDER", "train", split="train")',
        'items = load_dataset("FOLDER", "items", split="items")',
        "```",
        "",
    ]
    return "\n".join(lines)


def write_huggingface(generation: Generation, output: str | Path) -> dict[str, int]:
    """Write a folder that `datasets.load_dataset` reads and the hub shows: the shards, unchanged, and README.md.

    Returns:
        Number of rows by file.

    Raises:
        CallError: the output exists.
        RunError: a file cannot be read or written.
    """
    rows: dict[str, int] = {}
    with new_folder(output) as folder:
        for entry in (f for name in COPIED for f in generation.files(name)):
            path = folder / entry.path
            path.parent.mkdir(exist_ok=True)
            with generation.folder.open(entry.path) as source, path.open("wb") as sink:
                while chunk := source.read(_CHUNK):
                    sink.write(chunk)
            rows[entry.path] = entry.rows or 0
        (folder / "README.md").write_text(dataset_card(generation), "utf-8")
    return rows


def _rows(generation: Generation, paths: list[str]) -> int:
    return sum(f.rows or 0 for f in generation.manifest.files if f.path in paths)
