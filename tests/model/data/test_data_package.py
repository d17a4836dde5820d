import heterrec_model.data


def test_public_names() -> None:
    assert heterrec_model.data.__all__ == [
        "Batch",
        "FeatureInfo",
        "TokenTable",
        "TrainLoader",
        "open_token_table",
        "split_batches",
    ]
