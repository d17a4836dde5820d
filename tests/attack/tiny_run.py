"""The configuration of a run of two steps."""

from heterrec_model.config import Config

TINY = Config.model_validate(
    {
        "model": {
            "width": 8,
            "token_blocks": 1,
            "item_blocks": 1,
            "embedding_width": 8,
            "max_length": 12,  # a bundle with two graphs
        },
        "negatives": {"in_batch": 32, "uniform": 16, "token": 16},
        "data": {"batch_items": 64, "shuffle_rows": 40},
        "train": {
            "max_steps": 2,
            "threads": 1,
            "warmup_steps": 1,
            "log_every": 1,
            "tensorboard": False,
            "device": "cpu",
        },
    }
)
