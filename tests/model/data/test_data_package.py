import heterrec_model.data


def test_public_names() -> None:
    assert heterrec_model.data.__all__ == [
        "Batch",
        "FeatureInfo",
        "TokenTable",
        "TrainLoader",
        "items_batch",
        "open_token_table",
        "split_batches",
        "user_batch",
    ]
