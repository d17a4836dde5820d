"""A wheel of the installed package for the workers.

It is written without network or build tools, with the same bytes every time. Workers start from Beam's image and install it.
Its requirements are pinned to the versions of this environment, so that workers write the same bytes as a local build.
"""

import base64
import hashlib
import importlib.util
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

NAME = "heterrec"
PACKAGES = ("heterrec_schemas", "heterrec_pipeline")
"""Packages in the wheel. Workers need neither the model nor PyTorch."""
EXTRA = "pipeline"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_wheel(folder: Path) -> Path:
    """Write the wheel into a folder; returns its path."""
    version = metadata.version(NAME)
    info = f"{NAME}-{version}.dist-info"
    files = dict(_sources())
    files[f"{info}/METADATA"] = _metadata(version)
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: {NAME}\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    ).encode()
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    path = folder / f"{NAME}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, data)
    return path


def pinned_requirements() -> list[str]:
    """The requirements of the pipeline, each as `name==version` of this environment."""
    found = [Requirement(text) for text in metadata.requires(NAME) or []]
    wanted = [r for r in found if r.marker is None or r.marker.evaluate({"extra": EXTRA})]
    return sorted({f"{r.name}=={metadata.version(r.name)}" for r in wanted})


def _sources() -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None, package
        assert spec.origin is not None, package
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(root.parent).as_posix(), path.read_bytes()


def _metadata(version: str) -> bytes:
    lines = ["Metadata-Version: 2.1", f"Name: {NAME}", f"Version: {version}"]
    lines += [f"Requires-Dist: {pin}" for pin in pinned_requirements()]
    return ("\n".join(lines) + "\n").encode()


def _record(files: dict[str, bytes], own: str) -> bytes:
    lines = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}")
    return ("\n".join([*lines, f"{own},,"]) + "\n").encode()
