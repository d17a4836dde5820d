"""The runs of a study: which models are trained with which settings on which data, and the rows that each of them gives."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from heterrec_model.config import Config, ablated, load_config
from heterrec_model.evaluation.evaluate import load_generation
from heterrec_model.model_settings import flat_settings, is_read
from heterrec_model.registry import COUNTING, is_counting
from heterrec_model.runs.run_folder import MAY_CHANGE
from heterrec_model.studies.rows import DIGEST, Protocol, RowKey, run_name
from heterrec_model.studies.study_file import Study
from heterrec_model.training.check_config import check_for_generation, check_settings
from heterrec_schemas.errors import CallError, HeterrecError, suggest
from heterrec_schemas.generation import Generation

NO_INFLUENCE = (MAY_CHANGE - {"train.patience", "train.validate_every"}) | {
    "train.seed",
    "evaluation.ks",
}
"""Settings that are no part of the digest of a model's settings: they do not change its weights, or a column states them."""
COUNTING_READS = ("model.max_length", "train.refit_epochs")
"""Settings that the rows of a counting baseline depend on."""


@dataclass(frozen=True)
class PlannedRun:
    """A run of a model with a seed, or a counting baseline, on a data set.

    Attributes:
        data: name of the data set.
        model: name of the model or baseline.
        seed: None for a counting baseline.
        config: all settings.
        ks: of the metrics.
        settings_sha256: digest of the settings.
        content_sha256: hash of the content of the generation.
        rows: the rows that the run gives.
    """

    data: str
    model: str
    seed: int | None
    config: Config
    ks: tuple[int, ...]
    settings_sha256: str
    content_sha256: str
    rows: tuple[RowKey, ...]

    @property
    def name(self) -> str:
        """`model-seed`, of the run folder; the model alone for a counting baseline."""
        return run_name(self.model, self.seed)


def settings_of(
    study: Study, data: str, model: str, seed: int, more: Mapping[str, Any] | None = None
) -> Config:
    """The configuration of a run.

    The settings of the study and of the data set apply as far as the model reads them; then its own, then `more`; then its
    ablations.

    Raises:
        CallError: a setting or an ablation does not exist, or a value is invalid.
    """
    chosen, own = study.data[data], study.model(model)
    file = own.config or chosen.config or study.config
    shared = {**study.set, **chosen.set}
    try:
        given = {**shared, **own.set}
        named = {name: value for name, value in given.items() if name == "model.name"}
        kind, heads = load_config(file, named).model.name, bool(given.get("model.token_heads"))
        read = {n: v for n, v in shared.items() if is_read(kind, n, token_heads=heads)}
        config = load_config(file, {**read, **own.set, **(more or {}), "train.seed": seed})
        for name in own.ablate:
            config = ablated(config, name)
    except CallError as error:
        raise CallError(f"models.{model}, on {data}: {error.message}") from None
    return _one_thread(config)


def counting_settings(study: Study, data: str) -> Config:
    """The configuration by which a counting baseline counts and is evaluated: that which all models share."""
    chosen = study.data[data]
    shared = {**study.set, **chosen.set}
    return _one_thread(load_config(chosen.config or study.config, shared))


def planned_runs(study: Study, generations: Mapping[str, Generation]) -> list[PlannedRun]:
    """All runs of a study: data set by data set, the counting baselines first, then seed by seed.

    Raises:
        CallError: a setting, model or feature does not exist; the errors of all models are reported together.
    """
    for name in study.counting:
        if not is_counting(name):
            raise CallError(
                f"counting: there is no counting baseline {name!r}", todo=suggest(name, COUNTING)
            )
    runs: list[PlannedRun] = []
    problems: list[str] = []
    for data, generation in generations.items():
        for name in study.counting:
            runs.append(
                _planned(study, data, name, None, counting_settings(study, data), generation)
            )
        names = study.models_of(data)
        for seed in dict.fromkeys(seed for name in names for seed in study.seeds_of(name)):
            for name in (name for name in names if seed in study.seeds_of(name)):
                try:
                    config = settings_of(study, data, name, seed)
                except CallError as error:
                    problems.append(error.message)
                    continue
                try:
                    check_settings(config)
                    check_for_generation(config, generation)
                except HeterrecError as error:
                    problems.append(f"models.{name}, on {data}: {error.message}")
                run = _planned(study, data, name, seed, config, generation)
                if not run.rows:
                    problems.append(
                        f"models.{name}, on {data}: nothing to evaluate, since refit epochs train on the validation split"
                    )
                runs.append(run)
    if problems:
        found = list(dict.fromkeys(problems))
        raise CallError("\n  ".join([f"{study.name}: {len(found)} error(s)", *found]))
    return runs


def open_data(study: Study) -> dict[str, Generation]:
    """The generations of a study by the name of the data set.

    Raises:
        GenerationError: one does not exist or cannot be read.
    """
    return {name: load_generation(chosen.path) for name, chosen in study.data.items()}


def settings_digest(config: Config) -> str:
    """SHA-256 of the settings that differ from their defaults, so that a new setting of a later version changes no digest."""
    default = flat_settings(Config().model_dump(mode="json"))
    found = flat_settings(config.model_dump(mode="json"))
    return _digest(
        {n: v for n, v in found.items() if n not in NO_INFLUENCE and v != default.get(n)}
    )


def protocols(study: Study, data: str) -> Iterator[Protocol]:
    """The protocols of a data set."""
    for candidates in study.data[data].candidates:
        for filter_seen in study.data[data].filter_seen:
            yield Protocol(filter_seen, candidates)


def _one_thread(config: Config) -> Config:
    """The config with one thread unless it states a number: runs that share cores would wait for each other."""
    if config.train.threads is not None:
        return config
    return config.model_copy(update={"train": config.train.model_copy(update={"threads": 1})})


def _planned(
    study: Study, data: str, model: str, seed: int | None, config: Config, generation: Generation
) -> PlannedRun:
    splits = study.data[data].splits
    if config.train.refit_epochs and seed is not None:
        # Its metrics on the users of its own training would mean nothing.
        splits = tuple(split for split in splits if split != "validation")
    if seed is None:
        found = flat_settings(config.model_dump(mode="json"))
        digest = _digest({name: found[name] for name in COUNTING_READS})
    else:
        digest = settings_digest(config)
    rows = tuple(
        RowKey(data, model, seed, split, protocol)
        for split in splits
        for protocol in protocols(study, data)
    )
    return PlannedRun(
        data=data,
        model=model,
        seed=seed,
        config=config,
        ks=study.ks,
        settings_sha256=digest,
        content_sha256=generation.manifest.content_sha256,
        rows=rows,
    )


def _digest(settings: Mapping[str, Any]) -> str:
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:DIGEST]
