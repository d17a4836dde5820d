"""Paths of images lead to regular files of a bounded size below the input, and nowhere else."""

import hashlib
import io
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from stand_in_encoder import Stand, picture, put, rejects, run

from heterrec_pipeline.embed import EmbedConfig, images
from heterrec_pipeline.embed.images import image_bytes, image_digest, open_image
from heterrec_pipeline.embed.models import check_device
from heterrec_pipeline.files import storage
from heterrec_schemas.errors import CallError


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """An input folder with a picture, beside a secret."""
    folder = tmp_path / "input"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.png").write_bytes(picture(0))
    (tmp_path / "secret.png").write_bytes(picture(1))
    (tmp_path / "input2").mkdir()
    (tmp_path / "input2" / "b.png").write_bytes(picture(2))
    return folder


def test_what_is_inside_is_read(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (base / "inner.png").symlink_to("sub/a.png")
    for path in ("sub/a.png", "./sub/../sub/a.png", str(base / "sub" / "a.png"), "inner.png"):
        assert image_bytes(path, str(base)) == picture(0)
    monkeypatch.chdir(base.parent)
    assert image_bytes("sub/a.png", "input") == picture(0)
    (base.parent / "link").symlink_to("input")
    assert image_bytes("sub/a.png", str(base.parent / "link")) == picture(0)


def test_what_is_outside_is_not_read(base: Path) -> None:
    (base / "link.png").symlink_to(base.parent / "secret.png")
    (base / "up").symlink_to("..")
    secret = str(base.parent / "secret.png")
    for path in (
        *("/etc/hostname", "/etc/passwd", "../secret.png", "sub/../../secret.png", secret),
        *("link.png", "up/secret.png", "../input2/b.png", f"file://{secret}", "s3://x/y.png"),
        *("a\0b", "x" * 5000, "", ".", "sub", "absent.png"),
    ):
        assert image_bytes(path, str(base)) is None, path
        assert image_digest(path, str(base)) == images.NO_FILE


def test_only_regular_files_are_read(base: Path) -> None:
    os.mkfifo(base / "pipe.png")
    for path in ("/dev/zero", "/dev/stdin", "pipe.png"):
        assert image_bytes(path, str(base)) is None
    # A device that is inside, too.
    assert image_bytes("zero", "/dev") is None


def test_images_have_a_largest_size(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(picture(0))
    for largest, found in ((size, picture(0)), (size - 1, None)):
        monkeypatch.setattr(images, "MAX_IMAGE_BYTES", largest)
        assert image_bytes("sub/a.png", str(base)) == found
        assert image_bytes(picture(0), str(base)) == found


def test_images_have_a_largest_number_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")  # 400 million pixels in some kilobytes
    assert len(bomb.getvalue()) < 100_000
    assert open_image(bomb.getvalue(), "") is None
    assert open_image(picture(0), "") is not None
    monkeypatch.setattr(images, "MAX_PIXELS", 30 * 20 - 1)
    assert open_image(picture(0), "") is None


@pytest.mark.parametrize("base", ["s3://bucket/shop", "gs://bucket/shop/"])
def test_objects_below_the_base_are_read(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = base.rstrip("/")

    def open_read(path: str) -> io.BytesIO:
        assert path == f"{root}/sub/a.png"
        return io.BytesIO(b"x" * 10)

    monkeypatch.setattr(storage, "open_read", open_read)
    for path in ("sub/a.png", f"{root}/sub/a.png"):
        assert image_bytes(path, base) == b"x" * 10
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", 9)
    assert image_bytes("sub/a.png", base) is None


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/hostname", "../other/a.png", "sub/../../a.png", "s3://other/a.png"),
        *("gs://bucket/shop/a.png", "file:///etc/hostname", "s3://bucket/shop2/a.png"),
        "s3://bucket/shop/../a.png",
    ],
)
def test_other_objects_are_not_read(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "open_read", pytest.fail)
    assert image_bytes(path, "s3://bucket/shop") is None


def test_a_run_rejects_them(images: EmbedConfig, stand: Stand, tmp_path: Path) -> None:
    paths = ["a.png", "/etc/hostname", "../../../../etc/passwd", "/dev/zero", "b.png"]
    put(tmp_path, pa.table({"item_id": range(5), "photo": paths}))
    result = run(replace(images, max_reject_ratio=0.9))
    assert result.rejects == {"unreadable_image": 3}
    assert [row[0] for row in rejects(images)] == [1, 2, 3]
    assert len([x for x in stand.encoded if x.size == (30, 20)]) == 2


def test_the_digest_is_that_of_the_bytes(base: Path) -> None:
    expected = hashlib.sha256(picture(0)).hexdigest()
    assert image_digest("sub/a.png", str(base)) == image_digest(picture(0), "") == expected


@pytest.mark.parametrize("name", ["foo", "cuda:99", "meta", "cpu:x"])
def test_absent_devices_are_refused_by_name(name: str) -> None:
    check_device("cpu")
    check_device(None)
    with pytest.raises(CallError, match=f"--device: there is no '{name}' on this machine"):
        check_device(name)
