"""The commands of the pipeline as scenes of an attack."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from chains import add, check_only_generations, generation_id, named, point, standing
from corner_shop import START, Shop
from faults import run
from scenes import Scene

from heterrec_pipeline.keeping import pin
from heterrec_schemas.generation import open_generation

FIRST, SECOND, THIRD = (generation_id(k) for k in (1, 2, 3))
LISTS = {"users": ("gone_users.csv", "user_id"), "items": ("gone_items.csv", "item_id")}


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def of_generations(output: Path) -> dict[str, dict[str, str]]:
    """The files of each finished generation, without leases and what killed writers of them leave."""
    return {
        name: {
            file: text
            for file, text in hashes(output / "generations" / name).items()
            if not file.startswith("building.json")
        }
        for name in (standing(output) if (output / "generations").is_dir() else ())
    }


class Watch:
    """What has to be true of an output while commands are killed: compared with how it began."""

    def __init__(self, start: Path, *, deletes: bool = False) -> None:
        self.before = of_generations(start / "output")
        self.latest = named(start / "output") if self.before else None
        self.deletes = deletes

    def __call__(self, folder: Path) -> None:
        output = folder / "output"
        if (output / "latest.json").exists():
            assert open_generation(output, verify="hashes").root.endswith(named(output))
        else:
            assert self.latest is None, "latest.json is gone"
        now = of_generations(output)
        for name in now:
            open_generation(output / "generations" / name, verify="hashes")
        kept = {name: files for name, files in now.items() if name in self.before}
        if self.deletes:
            assert kept.items() <= self.before.items()
        else:
            assert kept == self.before, "a generation was changed"


def content(folder: Path) -> str:
    """The content of the latest generation."""
    return open_generation(folder / "output", verify="hashes").manifest.content_sha256


def state(folder: Path) -> tuple[str, list[str], list[str]]:
    """What the keeping commands change."""
    output = folder / "output"
    pins = sorted(p.name for p in output.glob("pins/*.json"))
    return named(output), standing(output), pins


def only_whole(folder: Path) -> None:
    """No drafts are left, once they are old."""
    for path in (folder / "output").glob("pins/*.json"):
        path.unlink()
    check_only_generations(folder / "output")


def shop_scenes(folder: Path) -> Iterator[Scene]:
    """Build and refresh."""
    shop = Shop(folder / "new")
    shop.write()
    shop.output.mkdir()
    yield _shop_scene("build", shop, "build", "--output")

    built = shop.copy(folder / "built")
    done = run("heterrec_pipeline", ["build", *built.arguments()], built.folder).done
    assert done.code == 0, done.err
    built.add("items.csv", [["i90", "Fig", "5"]])
    built.add("log.csv", [["u1", "i90", str(START + 10**6), "view", "900"]])
    yield _shop_scene("refresh", built, "refresh", "--base")
    yield _shop_scene("refresh by two workers", built, "refresh", "--base", "--workers", "2")

    erasing = built.copy(folder / "erasing")
    erasing.put("gone_users.csv", [["user_id"], ["u3"]])
    erasing.put("gone_items.csv", [["item_id"], ["i05"]])
    erasing.spec["erase"] = {
        table: {"source": {"path": path}, "key": key} for table, (path, key) in LISTS.items()
    }
    erasing.write_spec()
    yield _shop_scene("refresh that erases", erasing, "refresh", "--base")

    done = run(
        "heterrec_pipeline", _refresh(erasing.folder, "refresh", "--base"), erasing.folder
    ).done
    assert done.code == 0, done.err
    yield Scene(
        "purge of what is erased",
        "heterrec_pipeline",
        erasing.folder,
        lambda at: [
            *("purge", str(at / "output"), "--erased", "--spec", str(at / "spec.yaml")),
            *("--input", str(at / "input")),
        ],
        Watch(erasing.folder, deletes=True),
        state,
        only_whole,
        "output",
    )


def _refresh(at: Path, command: str, option: str, *more: str) -> list[str]:
    spec = ["--spec", str(at / "spec.yaml"), "--input", str(at / "input")]
    return [command, *spec, option, str(at / "output"), *more]


def _shop_scene(name: str, shop: Shop, command: str, option: str, *more: str) -> Scene:
    return Scene(
        name,
        "heterrec_pipeline",
        shop.folder,
        lambda at: _refresh(at, command, option, *more),
        Watch(shop.folder),
        content,
        only_whole,
        "output",
    )


def keeping_scenes(folder: Path, source: Path) -> Iterator[Scene]:
    """Publish, purge, pin and unpin, of a chain of three generations."""
    start = folder / "chain"
    for number in (1, 2, 3):
        add(source, start / "output", number, number - 1 or None)
    point(start / "output", THIRD)
    pinned = folder / "pinned"
    for number in (1, 2, 3):
        add(source, pinned / "output", number, number - 1 or None)
    point(pinned / "output", THIRD)
    pin(str(pinned / "output"), FIRST)

    def scene(name: str, begin: Path, *words: str, deletes: bool = False) -> Scene:
        def call(at: Path) -> list[str]:
            return [words[0], str(at / "output"), *words[1:]]

        watch = Watch(begin, deletes=deletes)
        return Scene(name, "heterrec_pipeline", begin, call, watch, state, only_whole, "output")

    yield scene("publish", start, "publish", "--generation", FIRST)
    yield scene("purge", start, "purge", "--keep", "0", "--grace", "0", deletes=True)
    yield scene("pin", start, "pin", "--generation", SECOND)
    yield scene("unpin", pinned, "unpin", "--generation", FIRST)
