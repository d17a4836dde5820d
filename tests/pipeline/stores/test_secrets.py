"""Credentials of flags, of the environment and of addresses are in nothing that a command writes."""

import re
from pathlib import Path

import pytest
from corner_shop import Finished, Shop, heterrec
from emulators import Emulator
from shops import stock

from heterrec_pipeline.files import storage

KEY, SECRET, TOKEN = "marked-key-7d1", "marked-secret-7d2", "marked-token-7d3"
MARK = "marked-"


def unmarked(done: Finished) -> Finished:
    assert MARK not in done.out + done.err
    return done


@pytest.mark.parametrize("store", ["s3"], indirect=True)
@pytest.mark.parametrize("way", ["flags", "environment"])
def test_credentials_of_a_store(
    store: Emulator,
    folder: str,
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    way: str,
) -> None:
    stock(shop, folder)
    flags: tuple[str, ...] = ()
    if way == "flags":
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        flags = (
            "--",
            f"--s3_endpoint_url={store.proxy.url}",
            f"--s3_access_key_id={KEY}",
            f"--s3_secret_access_key={SECRET}",
            f"--s3_session_token={TOKEN}",
            "--s3_region_name=us-east-1",
        )
    else:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    reading = ("--spec", shop.spec_path, "--input", f"{folder}/input")
    output = ("--output", f"{folder}/output")
    trace = tmp_path / "trace.json"
    logged = ("--log-json", "--profile", trace)
    done = unmarked(heterrec("build", *reading, *output, *logged, *flags))
    assert done.code == 0, done.err
    assert MARK not in trace.read_text()
    written = storage.files_below(folder)
    assert len(written) > 10
    for path in written:
        assert MARK.encode() not in storage.read_bytes(path), path
    lacking = ("--spec", shop.spec_path, "--input", f"{folder}/nothing")
    for more in ((), ("--debug",), ("--log-json",)):
        assert unmarked(heterrec("build", *lacking, *output, *more, *flags)).code == 2


@pytest.mark.parametrize(
    "address",
    [
        "s3://marked-user:marked-word@shop/input",
        "gs://marked-user:marked-word@shop/input",
        "https://marked-user:marked-word@shop.example/input?sig=marked-3",
    ],
)
def test_credentials_in_an_address(shop: Shop, tmp_path: Path, address: str) -> None:
    spec, output = ("--spec", shop.spec_path), ("--output", tmp_path / "output")
    for call in (
        ("build", *spec, "--input", address, *output),
        ("build", *spec, "--input", address, *output, "--debug"),
        ("build", *spec, "--input", shop.input, "--output", address, "--log-json"),
        ("validate", *spec, "--input", address),
        ("plan", *spec, "--input", address, "--json"),
        ("inspect", address),
    ):
        done = unmarked(heterrec(*call))
        assert done.code == 2
        assert re.search(r"://[.]{3}@shop\S*/input.* cannot be opened", done.err + done.out)
