"""Table of all models and baselines by name, and their construction."""

import torch

from heterrec_model.baselines.bert4rec import BERT4Rec
from heterrec_model.baselines.counting import CountingBaseline
from heterrec_model.baselines.hstu import HSTU
from heterrec_model.baselines.neighbours import Neighbours
from heterrec_model.baselines.pinnerformer import PinnerFormer
from heterrec_model.baselines.popular import Popular
from heterrec_model.baselines.repeat import Repeat
from heterrec_model.baselines.sasrec import SASRec
from heterrec_model.baselines.sasrec_time import SASRecTime
from heterrec_model.baselines.unseen_first import UnseenFirst
from heterrec_model.config import Config
from heterrec_model.data.frozen_vectors import frozen_vectors
from heterrec_model.data.token_table import TokenTable
from heterrec_model.heterrec import HeterRec
from heterrec_model.layers.embedding_tables import FrozenTable, ItemTables, module_name
from heterrec_model.layers.initial_codes import code_vectors
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError, suggest
from heterrec_schemas.own_class import is_own, own_class

MODELS: dict[str, type[TwoTowerModel] | type[CountingBaseline]] = {
    "heterrec": HeterRec,
    "bert4rec": BERT4Rec,
    "hstu": HSTU,
    "pinnerformer": PinnerFormer,
    "sasrec": SASRec,
    "sasrec_time": SASRecTime,
    "popular": Popular,
    "neighbours": Neighbours,
    "repeat": Repeat,
    "unseen-first": UnseenFirst,
}
TRAINED = {name: kind for name, kind in MODELS.items() if issubclass(kind, TwoTowerModel)}
"""Values of `model.name`, besides classes such as `my_package:MyModel`."""
COUNTING = {name: kind for name, kind in MODELS.items() if issubclass(kind, CountingBaseline)}
"""Baselines without weights: they need no run."""


def build_model(
    config: Config, table: TokenTable, generation: Generation, *, frozen: bool = True
) -> TwoTowerModel:
    """Build the configured model with its initial weights, which depend on `train.seed` only.

    Args:
        config: configuration of the run.
        table: token table with the features that the config names.
        generation: source of the code vectors for `embedding_init: quantizer`.
        frozen: whether the files of `model.frozen` are read; false if weights of a checkpoint follow, which have the vectors.

    Raises:
        CallError: `model.name` is unknown, a file of `model.frozen` does not exist, or there are no tokens for
            `model.token_heads`.
        DataError: a vector in these files is wrong.
    """
    kind = trained_class(config.model.name)
    codes = {}
    if config.model.embedding_init == "quantizer":
        embeddings = [f.name for f in table.features if f.kind == "embedding"]
        codes = {name: code_vectors(generation, name) for name in embeddings}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        tables = ItemTables(config.model, table, codes, sparse=config.train.sparse_tables)
        model = kind(config, table, tables)
    if config.model.token_heads and (len(tables.names) < 2 or not len(model.token_lmp)):
        raise CallError(
            f"model.token_heads: a {config.model.name} of these features has no token-level losses",
            got=f"items of the tokens {', '.join(tables.names)}",
            expected="items with features" if len(tables.names) < 2 else "a model with token_lmp",
            todo="Leave model.token_heads false, or choose features with model.features.",
        )
    if frozen:
        for name, files in config.model.frozen.items():
            table_of_name = tables.tables[module_name(name)]
            assert isinstance(table_of_name, FrozenTable)
            table_of_name.fill(frozen_vectors(generation, name, files))
    return model


def check_name(config: Config) -> None:
    """Check that `model.name` is a trained model.

    Raises:
        CallError: it is not.
    """
    trained_class(config.model.name)


def trained_class(name: str) -> type[TwoTowerModel]:
    """A trained model by `model.name`: a key of `TRAINED`, or `my_package:MyModel`, a subclass of `TwoTowerModel`.

    Raises:
        CallError: there is no such class.
    """
    if is_own(name):
        own: type[TwoTowerModel] = own_class(name, TwoTowerModel)
        return own
    if name not in TRAINED:
        raise CallError(f"there is no model {name!r}", todo=suggest(name, TRAINED))
    return TRAINED[name]


def is_counting(name: str) -> bool:
    """Whether a name is that of a baseline without weights: a key of `COUNTING`, or `my_package:MyBaseline`."""
    return name in COUNTING or is_own(name)


def build_counting(
    name: str, generation: Generation, *, refit: bool = False, config: Config | None = None
) -> CountingBaseline:
    """Count the interactions that a baseline without weights needs, with `refit` also those of the validation split.

    With a `config`, items are warm or cold as for a model of that configuration.

    Raises:
        CallError: the name is neither a key of `COUNTING` nor a subclass of `CountingBaseline` as `my_package:MyBaseline`.
    """
    if is_own(name):
        own: type[CountingBaseline] = own_class(name, CountingBaseline)
        return own(generation, refit=refit, config=config)
    if name not in COUNTING:
        raise CallError(f"there is no counting baseline {name!r}", todo=suggest(name, COUNTING))
    return COUNTING[name](generation, refit=refit, config=config)


def move_to_device(model: TwoTowerModel, device: torch.device) -> TwoTowerModel:
    """Move a model to a device; the item tokens stay on the CPU where they would fill half of the free GPU memory."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if model.tables.tokens_IC.nbytes > free / 2:
            model.tables.keep_tokens_here()
    return model.to(device)
