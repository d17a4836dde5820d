import gc

import pytest

from heterrec_pipeline.startup import many_imports


def fail_while_importing() -> None:
    with many_imports():
        assert not gc.isenabled()
        raise ImportError


def test_the_collector_rests_meanwhile_and_works_again_afterwards() -> None:
    try:
        with pytest.raises(ImportError):
            fail_while_importing()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
