"""Images of cells: encoded bytes, or paths of files below the input folder, which the data cannot leave."""

import hashlib
import io
import os
import stat
from typing import Any

from heterrec_pipeline.files import storage

NO_FILE = "no file"
MAX_IMAGE_BYTES = 2**26
"""Bytes of the largest encoded image."""
MAX_PIXELS = 89_478_485
"""Pixels of the largest image, which is Pillow's own limit: 256 MiB as RGB."""


def image_digest(content: str | bytes, base: str) -> str:
    """The SHA-256 of the bytes of an image; for a path, of its file's current bytes."""
    data = image_bytes(content, base)
    return NO_FILE if data is None else hashlib.sha256(data).hexdigest()


def open_image(content: str | bytes, base: str) -> Any | None:
    """An image as an RGB image of Pillow; None if it is missing, too large, or cannot be decoded."""
    from PIL import Image

    data = image_bytes(content, base)
    if data is None:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            return image.convert("RGB")
    except Exception:  # Pillow's decoders raise many kinds of errors on damaged data
        return None


def image_bytes(content: str | bytes, base: str) -> bytes | None:
    """The encoded bytes of an image; None if there are none, or more than MAX_IMAGE_BYTES.

    Args:
        content: the bytes, or a path relative to `base`. A path that leads out of `base`, links resolved, or to anything
            but a regular file is not read.
        base: the input folder, local or in a store.
    """
    if isinstance(content, str):
        read = _from_store if "://" in base else _from_disk
        try:
            content = read(content, base)
        except (OSError, ValueError):  # absent, not readable, or no name of a file
            return None
    return content if 0 < len(content) <= MAX_IMAGE_BYTES else None


def _from_store(path: str, base: str) -> bytes:
    """At most MAX_IMAGE_BYTES + 1 bytes of an object below the base.

    Raises:
        ValueError: the path leads out of the base.
        OSError: there is no such object.
    """
    inside = f"{base.rstrip('/')}/"
    full = path if path.startswith(inside) else inside + path
    below = full.removeprefix(inside)
    if "://" in below or below.startswith("/") or ".." in below.split("/"):
        raise ValueError("a path out of the input")
    with storage.open_read(full) as handle:
        return handle.read(MAX_IMAGE_BYTES + 1)


def _from_disk(path: str, base: str) -> bytes:
    """At most MAX_IMAGE_BYTES + 1 bytes of a regular file below the base; errors as in `_from_store`."""
    root = os.path.realpath(base)
    full = os.path.realpath(os.path.join(root, path))
    if os.path.commonpath([root, full]) != root:
        raise ValueError("a path out of the input")
    # Without waiting: the other end of a pipe may never be opened.
    handle = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("not a regular file")
        return file.read(MAX_IMAGE_BYTES + 1)
