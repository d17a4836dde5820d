"""A shop whose user ids are hashed: no file, message or trace has an id or the key."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corner_shop import Finished, Shop, heterrec

from heterrec_schemas.feature_spec import parse_spec
from heterrec_schemas.user_ids import KeyedHash, hash_user

NAME, KEY = "CORNER_SHOP_KEY", "marked-key-of-the-corner-shop"
MARK = "user-SECRET-"
"""The begin of every user id."""


def marked(user: str) -> str:
    return f"{MARK}{user}" if user.startswith("u") and user[1:].isdigit() else user


@pytest.fixture
def hashed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The shop without a generation, with marked user ids that are hashed, and with rejects of every kind."""
    monkeypatch.setenv(NAME, KEY)
    shutil.rmtree(shop.output)
    for name in ("users.csv", "log.csv"):
        head, *rows = shop.rows(name)
        shop.put(name, [head, *([marked(row[0]), *row[1:]] for row in rows)])
    shop.add("users.csv", [[f"{MARK}u1", "99"], [f"{MARK}u2", "old"], [f"{MARK}u88"]])
    log = [
        [f"{MARK}u1", "i01", "never", "view", ""],
        [f"{MARK}u1", "", "5", "view", ""],
        [f"{MARK}u1", "i01", "5"],
        [f"{MARK}u1", "i01", "5", "view", "", f"{MARK}u2"],
        [" ", "i01", "5", "view", ""],
        [f"{MARK}u1", "i01", "5", "sell", ""],
        [f"{MARK}u1", "i99", "5", "view", ""],
    ]
    shop.add("log.csv", log)
    shop.spec["users"]["hash_key"] = NAME
    shop.spec["limits"]["max_reject_ratio"] = 0.6
    shop.spec["interactions"]["unknown_items"] = "reject"
    shop.write_spec()
    return shop


def clean(done: Finished) -> Finished:
    """Check that the output has neither an id nor the key."""
    for secret in (MARK, KEY):
        assert secret not in done.out + done.err
    return done


def texts_in(folder: Path) -> str:
    """Everything that the files of a folder say, their names included."""
    said = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        said.append(str(path.relative_to(folder)))
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            said += [json.dumps(table.to_pylist()), str(table.schema)]
        said.append(path.read_bytes().decode("utf-8", errors="replace"))
    return "\n".join(said)


def refresh(shop: Shop, *more: object) -> Finished:
    shop.write_spec()
    reading = ("--spec", shop.spec_path, *shop.reading())
    return heterrec("refresh", "--base", shop.output, *reading, *more)


def users_of(shop: Shop, split: str = "latest") -> set[Any]:
    found: set[Any] = set()
    for path in (shop.output / "generations" / shop.latest()).glob(f"sequences/{split}-*"):
        found |= set(pq.read_table(path, columns=["user_id"])["user_id"].to_pylist())
    return found


def test_no_id_and_no_key_is_left_anywhere(hashed: Shop, tmp_path: Path) -> None:
    """Build, look, plan, refresh, erase and purge; with logs and traces."""
    trace = tmp_path / "trace.json"
    logged = ("--log-json", "--profile", trace)
    for command in ("validate", "plan"):
        done = clean(heterrec(command, "--spec", hashed.spec_path, *hashed.reading()))
        assert done.code == 0, done.err
    done = clean(hashed.build(*logged))
    assert done.code == 0, done.err
    assert users_of(hashed) == {hash_user(f"{MARK}u{k}", KEY) for k in range(10)}
    reasons = {r[4] for r in hashed.rejects()}
    assert {"malformed_row", "missing_key", "duplicate_user", "not_a_number"} <= reasons
    assert {"unknown_item", "unknown_behaviour", "time_unreadable"} <= reasons
    user = f"{MARK}u3"
    shown = clean(heterrec("inspect", hashed.output, "--user", user))
    assert hash_user(user, KEY) in shown.out
    assert NAME in clean(heterrec("inspect", hashed.output)).out
    first = hashed.latest()

    hashed.add(
        "log.csv", [[f"{MARK}u77", f"i0{k}", str(1_700_000_000 + k), "view", ""] for k in range(4)]
    )
    done = clean(refresh(hashed, *logged))
    assert done.code == 0, done.err
    assert hash_user(f"{MARK}u77", KEY) in users_of(hashed)

    hashed.put("gone.csv", [["user_id"], [f" {user}"]])
    hashed.spec["erase"] = {"users": {"source": {"path": "gone.csv"}, "key": "user_id"}}
    done = clean(refresh(hashed, *logged, "--json"))
    assert done.code == 0, done.err
    body = json.loads(done.out)
    assert body["manifest"]["counts"]["interactions"]["erased"] == 20
    # The digest of the log names the erased user, so the log is parsed again.
    assert body["reuse"]["why"]["interactions: with something to erase"] == 1
    assert hash_user(user, KEY) not in users_of(hashed)

    erasing = ("--erased", "--spec", hashed.spec_path, *hashed.reading())
    purged = clean(heterrec("purge", hashed.output, *erasing, "--json"))
    assert purged.code == 0, purged.err
    deleted = {one["id"]: one["why"] for one in json.loads(purged.out)["deleted"]}
    assert first in deleted
    assert "sequences" in deleted[first]
    assert "state" in deleted[first]
    said = texts_in(hashed.output) + trace.read_text()
    assert MARK not in said
    assert KEY not in said


def test_a_purge_needs_the_key_of_each_generation(
    hashed: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hashed.build().code == 0
    hashed.put("gone.csv", [["user_id"], [f"{MARK}u3"]])
    hashed.spec["erase"] = {"users": {"source": {"path": "gone.csv"}, "key": "user_id"}}
    assert refresh(hashed).code == 0
    monkeypatch.setenv(NAME, KEY + "!")
    erasing = ("--erased", "--spec", hashed.spec_path, *hashed.reading())
    done = clean(heterrec("purge", hashed.output, *erasing))
    assert done.code == 1
    assert f"its user ids are hashed: the environment variable {NAME} of this" in done.err
    assert len(hashed.generations()) == 2


def test_the_hashes_are_as_if_the_input_had_them(hashed: Shop) -> None:
    """Also with missing ids, repeated users and rejects; and by two worker processes."""
    hashed.spec["interactions"]["missing_values"] = [f"{MARK}u9"]
    hashed.spec["users"]["missing_values"] = [f"{MARK}u8"]
    done = hashed.build("--json")
    assert done.code == 0, done.err
    content = json.loads(done.out)["manifest"]["content_sha256"]
    two = hashed.build("--json", "--workers", "2")
    assert json.loads(two.out)["manifest"]["content_sha256"] == content
    bare = hashed.copy(hashed.folder / "bare")
    for name, missing in (("users.csv", "u8"), ("log.csv", "u9")):
        head, *rows = bare.rows(name)
        for row in rows:
            gone = row[0] == f"{MARK}{missing}" or not row[0].strip()
            row[0] = "" if gone else hash_user(row[0], KEY)
        bare.put(name, [head, *rows])
    del bare.spec["users"]["hash_key"], bare.spec["users"]["missing_values"]
    del bare.spec["interactions"]["missing_values"]
    done = bare.build("--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["manifest"]["content_sha256"] == content


def test_ids_of_different_types_are_one_user(hashed: Shop) -> None:
    """Integers in one file of the log, floats in the other, text among the users: as without hashes."""
    rows = [r for r in hashed.rows("log.csv")[1:] if r[0].startswith(MARK) and len(r) == 5]
    rows = [r for r in rows if r[2].isdigit() and int(r[2]) > 5]
    (hashed.input / "log.csv").unlink()
    for k, kind in enumerate((pa.int32(), pa.float64())):
        half = rows[k::2]
        ids = pa.array([int(r[0].removeprefix(f"{MARK}u")) for r in half], pa.int32()).cast(kind)
        columns = {"user_id": ids, "item_id": [r[1] for r in half], "event": [r[3] for r in half]}
        columns |= {"time": [int(r[2]) for r in half], "event_id": [int(r[4] or 0) for r in half]}
        pq.write_table(pa.table(columns), hashed.input / f"log-{k}.parquet")
    hashed.spec["interactions"]["source"]["path"] = "log-*.parquet"
    hashed.put("users.csv", [["user_id", "age"], *([f" {k}", str(20 + k)] for k in range(10))])
    done = hashed.build("--json")
    assert done.code == 0, done.err
    manifest = json.loads(done.out)["manifest"]
    assert manifest["user_ids"] == {"hash_key": NAME, "fingerprint": KeyedHash(KEY).fingerprint}
    assert users_of(hashed) == {hash_user(k, KEY) for k in range(10)}
    with_age = {
        r["user_id"]: r["user_age"]
        for path in (hashed.output / "generations" / hashed.latest()).glob("sequences/latest-*")
        for r in pq.read_table(path).to_pylist()
    }
    assert all(age > 1 for age in with_age.values()), "every user has the row of the table"
    del hashed.spec["users"]["hash_key"]
    raw = hashed.build("--json")
    assert raw.code == 0, raw.err
    assert users_of(hashed) == set(range(10))
    counts = [json.loads(d.out)["manifest"]["counts"] for d in (done, raw)]
    assert counts[0] == counts[1]


def test_a_key_needs_no_table_of_users(hashed: Shop) -> None:
    hashed.spec["users"] = {"hash_key": NAME}
    done = clean(hashed.build())
    assert done.code == 0, done.err
    assert users_of(hashed) == {hash_user(f"{MARK}u{k}", KEY) for k in range(10)}
    assert MARK not in texts_in(hashed.output)


def without_key(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv(NAME)
    return f"there is no environment variable {NAME}"


def with_short_key(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(NAME, "marked-short")
    return "too short to hash user ids: got 12 bytes, expected at least 16 random bytes"


@pytest.mark.parametrize("spoil", [without_key, with_short_key])
@pytest.mark.parametrize("command", ["build", "validate", "plan"])
def test_no_key_is_refused_before_anything_is_written(
    hashed: Shop,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    spoil: Callable[[Shop, pytest.MonkeyPatch], str],
) -> None:
    words = spoil(hashed, monkeypatch)
    output = ("--output", hashed.output) if command == "build" else ()
    options = ("--spec", hashed.spec_path, *hashed.reading(), "--debug")
    done = clean(heterrec(command, *options, *output))
    assert done.code == 2
    assert words in done.err
    assert "openssl rand" in done.err
    assert "marked-" not in done.err
    assert not hashed.output.exists()


def another_key(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(NAME, KEY + "\n")
    return f"The key in {NAME} is not that of the parent, which was read from {NAME}"


def ends(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> str:
    del shop.spec["users"]["hash_key"]
    return (
        f"users.hash_key: the user ids of the parent are hashed: got no hash_key, expected {NAME}"
    )


@pytest.mark.parametrize("change", [another_key, ends])
def test_a_refresh_with_other_hashes_is_refused(
    hashed: Shop,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Shop, pytest.MonkeyPatch], str],
) -> None:
    assert hashed.build().code == 0
    before = hashed.state()
    words = change(hashed, monkeypatch)
    for done in (refresh(hashed), refresh(hashed, "--skip-unchanged")):
        assert clean(done).code == 2
        assert words in done.err
    reading = ("--spec", hashed.spec_path, *hashed.reading(), "--base", hashed.output)
    for command in ("validate", "plan"):
        done = clean(heterrec(command, *reading))
        assert done.code == 2
        assert words in done.err
    assert hashed.state() == before


def test_a_refresh_that_begins_to_hash_is_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, KEY)
    shop.spec["users"]["hash_key"] = NAME
    done = refresh(shop)
    assert done.code == 2
    assert (
        "users.hash_key: the user ids of the parent are not hashed. Leave hash_key out" in done.err
    )


def test_the_same_key_may_move_to_another_variable(
    hashed: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hashed.build().code == 0
    content = hashed.manifest()["content_sha256"]
    monkeypatch.delenv(NAME)
    monkeypatch.setenv("ANOTHER_NAME", KEY)
    hashed.spec["users"]["hash_key"] = "ANOTHER_NAME"
    done = clean(refresh(hashed, "--json"))
    assert done.code == 0, done.err
    body = json.loads(done.out)
    assert body["manifest"]["content_sha256"] == content
    assert body["manifest"]["user_ids"]["hash_key"] == "ANOTHER_NAME"
    assert body["reuse"]["files"] == body["reuse"]["of_files"]


def test_a_worker_without_the_key_fails_with_one_error(
    hashed: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worker processes whose environment is not the command's, as on other machines."""
    from heterrec_pipeline.building import BuildConfig, build
    from heterrec_pipeline.runtime.engines import local
    from heterrec_schemas.errors import CallError

    popen = local.subprocess.Popen

    def bare(*arguments: Any, env: dict[str, str], **more: Any) -> Any:
        return popen(*arguments, env={k: v for k, v in env.items() if k != NAME}, **more)

    monkeypatch.setattr(local.subprocess, "Popen", bare)
    text = hashed.spec_path.read_text()
    config = BuildConfig(parse_spec(text), text, str(hashed.input), str(hashed.output), workers=2)
    with pytest.raises(CallError, match=f"there is no environment variable {NAME}") as error:
        build(config)
    assert KEY not in str(error.value)
    assert not (hashed.output / "latest.json").exists()


def test_ids_in_the_names_of_folders_are_refused(hashed: Shop) -> None:
    folder = hashed.input / "log" / f"user_id={MARK}u1"
    folder.mkdir(parents=True)
    (hashed.input / "log.csv").rename(folder / "log.csv")
    hashed.spec["interactions"]["source"]["path"] = "log"
    done = hashed.validate()
    assert done.code == 2
    assert "interactions: the user ids are in the names of folders" in done.err


def test_an_id_that_is_no_key_is_not_quoted(hashed: Shop) -> None:
    hashed.put("users.csv", [["user_id", "age"], ["1", "20"]])
    ids = pa.array([4711.5, 1.0])
    columns = {"user_id": ids, "item_id": ["i01", "i02"], "time": [5, 6], "event": ["view", "view"]}
    pq.write_table(pa.table(columns | {"event_id": [1, 2]}), hashed.input / "log.parquet")
    hashed.spec["interactions"]["source"]["path"] = "log.parquet"
    for done in (hashed.build(), hashed.validate()):
        assert done.code == 2
        assert "interactions: key column 'user_id' holds floats with fractions" in done.err
        assert "4711" not in done.err


def test_a_header_of_ids_is_not_quoted(hashed: Shop) -> None:
    hashed.put("log.csv", hashed.rows("log.csv")[1:])
    done = clean(hashed.validate())
    assert done.code == 2
    assert "interactions: there is no column 'user_id'" in done.err


@pytest.mark.parametrize("values", ["hashed", "none"])
def test_rejects_tell_hashes_or_nothing(hashed: Shop, values: str) -> None:
    """Of any cell, in rejects/, in the caches of refreshes, in messages; under hashed equal values are equal."""
    hashed.spec["rejects"] = {"values": values}
    hashed.add("items.csv", [["i03", "Kiwi", "TELLTALE"], ["i04", "Plum", "TELLTALE"]])
    hashed.add(
        "log.csv", [["u1", "i01", "TELLTALE", "view", ""], ["u1", "i0TOLD", "5", "view", ""]]
    )
    hashed.add("items.csv", [["i05", "TELLTALE", "5", "much"]])
    for done in (hashed.validate(), hashed.build("--log-json"), refresh(hashed, "--log-json")):
        assert clean(done).code == 0, done.err
        assert "TELLTALE" not in done.out + done.err
        assert "i0TOLD" not in done.out + done.err
        assert values == "hashed" or "got " not in done.out + done.err
    generation = hashed.output / "generations" / hashed.latest()
    shutil.rmtree(
        generation / "vocabularies"
    )  # i05's brand is not TELLTALE, but other values are content
    assert "TELLTALE" not in texts_in(generation)
    shutil.rmtree(generation / "state")  # which has the readable rows of the log
    assert "i0TOLD" not in texts_in(generation)
    told = {(r[1], r[3], r[4]): r[5] for r in hashed.rejects()}
    if values == "none":
        assert set(told.values()) == {None}
        return
    hashes = KeyedHash(KEY)
    assert told["log.csv", "time", "time_unreadable"] in {
        hashes.cell("never"),
        hashes.cell("TELLTALE"),
    }
    assert told["log.csv", "event", "unknown_behaviour"] == hashes.cell("sell")
    assert told["log.csv", "", "malformed_row"] is None
    assert told["items.csv", "", "malformed_row"] is not None
    hashed.spec["limits"]["max_reject_ratio"] = 0.001
    refused = clean(hashed.build())
    assert refused.code == 2
    assert "were rejected, more than limits.max_reject_ratio allows (0.1%)" in refused.err
    assert "TELLTALE" not in refused.err


def test_a_setting_of_rejects_reads_unchanged_files_anew(shop: Shop) -> None:
    """The parent's caches have texts that the refresh must not have."""
    shop.add("log.csv", [["u1", "i01", "TELLTALE", "view", ""]])
    shop.spec["limits"]["max_reject_ratio"] = 0.02
    assert shop.build().code == 0
    shop.spec["rejects"] = {"values": "none"}
    done = refresh(shop, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["reuse"]["why"]["interactions: read in another way"] == 1
    assert "TELLTALE" not in texts_in(shop.output / "generations" / shop.latest())
