"""Settings: files, shipped names, overrides, and errors reported together."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from made_up import MANY
from pydantic import BaseModel

from heterrec_model.config import Config, check_read, load_config, parse_config, shipped_configs
from heterrec_model.model_settings import UNREAD
from heterrec_schemas.errors import CallError


def message_of(overrides: list[str], path: str | Path) -> str:
    with pytest.raises(CallError) as caught:
        load_config(path, overrides)
    return caught.value.message


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration of two settings."""
    path = tmp_path / "mine.yaml"
    path.write_text("model: {width: 8}\nloss:\n  steps: 2\n", encoding="utf-8")
    return path


def test_a_file_is_read_and_the_rest_is_default(file: Path) -> None:
    config = load_config(file)
    assert (config.model.width, config.loss.steps) == (8, 2)
    assert config.train == Config().train
    assert load_config(str(file)) == config


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing yet\n", encoding="utf-8")
    assert load_config(path) == Config()


def test_an_empty_section_is_all_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("model:\n  # width: 8\ntrain: {seed: 3}\n", encoding="utf-8")
    assert load_config(path).model == Config().model
    assert load_config(path, ["model.width=16"]).model.width == 16


@pytest.mark.parametrize("name", shipped_configs())
def test_shipped_configurations_are_valid_and_fit_any_generation(name: str) -> None:
    config = load_config(name)
    assert load_config(f"{name}.yaml") == config
    assert config.model.features is None
    assert config.model.user_features is None


def test_a_file_of_that_name_goes_before_a_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu").write_text("model: {width: 24}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_config("cpu").model.width == 24


def test_an_absent_file_is_reported_with_the_shipped_names(tmp_path: Path) -> None:
    message = message_of([], tmp_path / "cpu.yaml")
    assert "there is no configuration" in message
    assert all(name in message for name in shipped_configs())
    assert "there is no configuration" in message_of([], "no-such-name")


def test_overrides_go_before_the_file(file: Path) -> None:
    config = load_config(
        file,
        [
            "model.width=16",
            "model.time_gap.buckets=9",
            "train.learning_rate=1e-3",
            "loss.step_weights=[1, 0.3]",
            "model.features=[brand, price]",
            "train.max_steps=null",
            "negatives.gather=true",
            "train.threads = 2",
            "model.width=32",
        ],
    )
    assert (config.model.width, config.model.time_gap.buckets) == (32, 9)
    assert config.train.learning_rate == 0.001
    assert config.loss.step_weights == (1.0, 0.3)
    assert config.model.features == ("brand", "price")
    assert config.train.max_steps is None
    assert config.negatives.gather is True
    assert config.train.threads == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.seed", "expected key=value"),
        ("=3", "expected key=value"),
        ("train.seed=[1", "the value is not valid YAML"),
        ("train.seed=x", "train.seed"),
        ("train.seed.more=1", "got seed, which is not a section"),
        ("model=3", "model"),
        ("modle.width=3", "modle: there is no such setting. Did you mean 'model'?"),
        ("model.widht=3", "model.widht: there is no such setting. Did you mean 'width'?"),
        (
            "model.time_gap.bukets=3",
            "model.time_gap.bukets: there is no such setting. Did you mean 'buckets'?",
        ),
        ("model.norm=middle", "model.norm: Input should be 'post' or 'pre' (got 'middle')"),
        ("model.dropout=1", "model.dropout: Input should be less than 1 (got 1)"),
        ("model.time_gap.buckets=1", "model.time_gap.buckets"),
        ("loss.temperature=0", "loss.temperature: Input should be greater than 0 (got 0)"),
        ("loss.temperature=.nan", "loss.temperature"),
        ("loss.temperature=.inf", "loss.temperature"),
        ("train.learning_rate=.inf", "train.learning_rate"),
        ("loss.token_weight=-1", "loss.token_weight"),
        ("loss.margin=0", "loss.margin"),
        ("negatives.source=batch", "negatives.source"),
        ("evaluation.ks=[10, 0]", "evaluation.ks.1"),
    ],
)
def test_a_mistake_names_the_setting(override: str, words: str, file: Path) -> None:
    if override == "train.seed.more=1":
        file.write_text("train: {seed: 1}\n", encoding="utf-8")
    assert words in message_of([override], file)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.width=10", "model.heads=4"], "width: 10 is not divisible by heads: 4"),
        (["model.item_id=false", "model.features=[]"], "an item needs a token"),
        (
            ["model.attention=flex", "model.attention_dropout=0.1"],
            "flex does not support attention_dropout",
        ),
        (["loss.steps=3", "loss.step_weights=[1, 1]"], "step_weights: got 2 for steps: 3"),
        (
            ["model.repeats.enabled=true", "negatives.source=in_batch_same_position"],
            "model.repeats: needs negatives that all positions share",
        ),
        (
            ["model.token_heads=true", "loss.token_weight=0"],
            "model.token_heads: needs token-level losses",
        ),
    ],
)
def test_settings_that_do_not_fit_each_other_are_reported(
    overrides: list[str], words: str, file: Path
) -> None:
    assert words in message_of(overrides, file)


def test_all_mistakes_are_reported_together(file: Path) -> None:
    message = message_of(["model.widht=3", "loss.steps=0", "train.device=3", "modle.x=1"], file)
    assert "4 error(s)" in message
    for place in ("model.widht", "loss.steps", "train.device", "modle"):
        assert place in message
    assert str(file) in message


@pytest.mark.parametrize(
    ("text", "words"), [("model: [1\n", "is not valid YAML"), ("- model\n", "expected sections")]
)
def test_text_that_is_no_configuration_is_reported(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    assert words in message_of([], path)


def test_tags_that_would_run_code_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("model: !!python/object/apply:os.getcwd []\n", encoding="utf-8")
    assert "is not valid YAML" in message_of([], path)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().model.width = 3


def test_a_file_for_another_model_leaves_out_what_this_one_does_not_read() -> None:
    for name in shipped_configs():
        for model in UNREAD:
            config = load_config(name, [f"model.name={model}", "train.epochs=3"])
            check_read(config)
            assert (config.model.name, config.train.epochs) == (model, 3)
    config = load_config("cpu", ["model.name=sasrec"])
    assert config.model.token_blocks == Config().model.token_blocks
    assert config.model.item_blocks == load_config("cpu").model.item_blocks != 2
    # a run's own configuration, which states all settings
    check_read(parse_config(yaml.safe_load(config.to_yaml()), "here"))


def test_settings_that_the_model_does_not_read_are_refused_by_name(file: Path) -> None:
    overrides = [
        "model.name=sasrec",
        "model.time_gap.per_head=true",
        "loss.token_weight=sum",
        "model.item_blocks=3",
    ]
    with pytest.raises(CallError) as caught:
        check_read(load_config("cpu", overrides))
    message = caught.value.message
    assert "the model sasrec does not read 2 setting(s)" in message
    assert "model.time_gap.per_head: got True, the default is False" in message
    assert "loss.token_weight: got 'sum', the default is 1.0" in message
    file.write_text("model: {name: sasrec, token_blocks: 1}\n", encoding="utf-8")
    with pytest.raises(CallError, match=r"model\.token_blocks: got 1, the default is 2"):
        check_read(load_config(file))
    check_read(load_config(file, ["model.name=heterrec", "model.time_gap.per_head=true"]))


def test_the_papers_tables_need_no_bins(file: Path) -> None:
    overrides = ["model.group_tables=shared"]
    assert "set embedding_init: random" in message_of(overrides, file)
    load_config(file, [*overrides, "model.embedding_init=random"])


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "model": st.fixed_dictionaries(
            {},
            optional={
                "heads": st.sampled_from([1, 2, 4]),
                "features": st.none() | st.lists(st.sampled_from(["brand", "price"])),
                "dropout": st.floats(0, 0.99),
                "time_gap": st.fixed_dictionaries({"per_head": st.booleans()}),
            },
        ),
        "loss": st.fixed_dictionaries(
            {},
            optional={
                "step_weights": st.none() | st.lists(st.floats(0, 9), min_size=3, max_size=3),
                "token_weight": st.floats(0, 9) | st.just("sum"),
            },
        ),
        "train": st.fixed_dictionaries({"learning_rate": st.floats(1e-12, 10)}),
        "evaluation": st.fixed_dictionaries({"ks": st.lists(st.integers(1, 500), min_size=1)}),
    },
)


@MANY
@given(changes=CHANGES)
def test_yaml_goes_round(changes: dict[str, Any]) -> None:
    config = parse_config(changes, "here")
    assert parse_config(yaml.safe_load(config.to_yaml()), "there") == config


def test_yaml_writes_every_setting_out() -> None:
    def settings(section: type[BaseModel], at: Any) -> None:
        assert list(at) == list(section.model_fields)
        for name, field in section.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                settings(field.annotation, at[name])

    settings(Config, yaml.safe_load(Config().to_yaml()))


@pytest.mark.parametrize(
    "setting",
    [
        "model.width=1000000000",
        "model.max_length=1.0e+21",
        "model.token_blocks=2000",
        "model.time_gap.buckets=10000000",
        "loss.steps=100000",
        "negatives.uniform=1.0e+22",
        "data.batch_items=1.0e+22",
        "data.workers=100000",
        "train.threads=100000",
        "train.max_steps=1.0e+22",
        "evaluation.ks=[1000000000]",
        "evaluation.chunk_items=1.0e+22",
    ],
)
def test_sizes_that_no_machine_has_are_refused(setting: str) -> None:
    with pytest.raises(CallError, match=rf"{setting.partition('=')[0]}.*(Input should|Unable)"):
        load_config("cpu", [setting])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xfe", r"c\.yaml is not valid YAML: "),
        (b"model: [", r"c\.yaml is not valid YAML: "),
        (b"[" * 100_000, r"c\.yaml: line 1: nested more than 64 levels deep"),
        (b"a: 2020-99-99", r"c\.yaml: line 1: '2020-99-99' is no timestamp of YAML"),
    ],
)
def test_a_file_that_is_no_yaml(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "c.yaml").write_bytes(data)
    with pytest.raises(CallError, match=words):
        load_config(tmp_path / "c.yaml")
