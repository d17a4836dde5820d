"""Encodes texts and images of an item table to vectors: Parquet shards that a spec uses as a join."""

from heterrec_pipeline.embed.config import ColumnResult, EmbedConfig, EmbedResult
from heterrec_pipeline.embed.console import run_embed
from heterrec_pipeline.embed.models import EmbeddingModel, Encoder, load_encoder, resolve_model
from heterrec_pipeline.embed.own_encoder import OwnEncoder
from heterrec_pipeline.embed.run import embed

__all__ = [
    "ColumnResult",
    "EmbedConfig",
    "EmbedResult",
    "EmbeddingModel",
    "Encoder",
    "OwnEncoder",
    "embed",
    "load_encoder",
    "resolve_model",
    "run_embed",
]
