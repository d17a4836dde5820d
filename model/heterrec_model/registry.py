"""Every model by its name in the configuration, and how one is made."""

import torch

from heterrec_model.baselines import SASRec
from heterrec_model.config import Config
from heterrec_model.data.token_table import TokenTable
from heterrec_model.heterrec import HeterRec
from heterrec_model.layers.tables import ItemTables
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError, suggest

MODELS: dict[str, type[TwoTowerModel]] = {"heterrec": HeterRec, "sasrec": SASRec}


def build_model(config: Config, table: TokenTable, generation: Generation) -> TwoTowerModel:
    """The configured model with its starting weights: the same for the same `train.seed`.

    Args:
        config: the whole run's.
        table: the generation's items, of the features that the config names.
        generation: lends the quantile edges for `embedding_init: quantizer`.

    Raises:
        CallError: there is no such model.
    """
    name = config.model.name
    if name not in MODELS:
        raise CallError(f"there is no model {name!r}", todo=suggest(name, MODELS))
    edges = {}
    if config.model.embedding_init == "quantizer":
        embeddings = [f.name for f in table.features if f.kind == "embedding"]
        edges = {n: torch.from_numpy(generation.quantizers(n).copy()) for n in embeddings}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        tables = ItemTables(config.model, table, edges, sparse=config.train.sparse_tables)
        return MODELS[name](config, table, tables)


def placed(model: TwoTowerModel, device: torch.device) -> TwoTowerModel:
    """The model on a device; the items' tokens go along where they leave half of its free memory to the rest."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if model.tables.tokens_IC.nbytes > free / 2:
            model.tables.keep_tokens_here()
    return model.to(device)
