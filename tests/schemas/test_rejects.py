from heterrec_schemas.rejects import REJECTS_SCHEMA, Reason


def test_the_reasons_are_the_contracts_words() -> None:
    assert sorted(Reason) == [
        "duplicate_item",
        "duplicate_row",
        "duplicate_user",
        "expression_failed",
        "malformed_row",
        "missing_key",
        "non_finite",
        "not_a_number",
        "not_utf8",
        "order_unreadable",
        "time_out_of_range",
        "time_unreadable",
        "unknown_behaviour",
        "unknown_item",
        "unreadable_image",
        "wrong_type",
        "wrong_width",
    ]


def test_only_the_value_of_a_reject_may_be_missing() -> None:
    assert [(f.name, str(f.type), f.nullable) for f in REJECTS_SCHEMA] == [
        ("source", "string", False),
        ("file", "string", False),
        ("row", "int64", False),
        ("column", "string", False),
        ("reason", "string", False),
        ("value", "string", True),
    ]
