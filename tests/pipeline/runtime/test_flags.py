import copy
import pickle

import pytest
from apache_beam.options.pipeline_options import DirectOptions, SetupOptions, StandardOptions

from heterrec_pipeline.runtime.flags import LOCAL_RUNNER, pipeline_options
from heterrec_schemas.errors import CallError


def runner_of(*arguments: str) -> str:
    return str(pipeline_options(arguments).view_as(StandardOptions).runner)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--runner=DirectRunner"],
        ["--runner", "direct"],
        ["--runner=SwitchingDirectRunner"],
        ["--runner=apache_beam.runners.direct.direct_runner.DirectRunner"],
        ["--runner=FnApiRunner"],
    ],
)
def test_the_local_engine_is_named(arguments: list[str]) -> None:
    """Beam's default would first try to download another engine."""
    assert runner_of(*arguments).endswith(LOCAL_RUNNER)


@pytest.mark.parametrize("name", ["PrismRunner", "FlinkRunner", "PortableRunner"])
def test_other_engines_keep_their_names(name: str) -> None:
    assert runner_of(f"--runner={name}") == name


def test_beams_flags_reach_it() -> None:
    options = pipeline_options(
        ["--direct_num_workers=3", "--direct_running_mode", "multi_processing"]
    )
    assert options.view_as(DirectOptions).direct_num_workers == 3
    assert options.view_as(DirectOptions).direct_running_mode == "multi_processing"
    assert options.view_as(SetupOptions).save_main_session is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--runner=DaskRunner"], "DaskRunner is refused: it reports success with files missing"),
        (["--runner=dask"], "dask is refused"),
        (["--runner=BundleBasedDirectRunner"], "refused: it gives steps empty side inputs"),
        (["--runner=FnApiRuner"], "there is no runner 'FnApiRuner'"),
        (["--runner=nowhere.to.be.Found"], "'nowhere.to.be.Found' cannot be used"),
        (
            ["--direct_num_worker=3"],
            "no flag --direct_num_worker. Did you mean '--direct_num_workers'",
        ),
        (["--nonsense"], "no flag --nonsense"),
        (["--direct_num_workers=many"], "invalid int value: 'many'"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)
def test_flags_that_lose_data_or_are_unknown_are_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(CallError) as error:
        pipeline_options(arguments)
    assert words in error.value.message


def test_views_are_made_once_and_show_what_is_set_later() -> None:
    options = pipeline_options(["--direct_num_workers=3"])
    view = options.view_as(DirectOptions)
    assert options.view_as(DirectOptions) is view
    options.view_as(DirectOptions).direct_num_workers = 5
    assert view.direct_num_workers == 5
    assert options.get_all_options()["direct_num_workers"] == 5


def test_copies_of_the_options_are_independent() -> None:
    """Beam copies the options of a pipeline, and pickles them for workers."""
    options = pipeline_options(["--direct_num_workers=3"])
    assert options.view_as(DirectOptions).direct_num_workers == 3
    for copied in (copy.deepcopy(options), pickle.loads(pickle.dumps(options))):
        copied.view_as(DirectOptions).direct_num_workers = 7
        assert copied.view_as(DirectOptions).direct_num_workers == 7
        assert options.view_as(DirectOptions).direct_num_workers == 3


@pytest.mark.parametrize("number", ["1000000000", "-1"])
def test_numbers_of_workers_that_no_machine_has(number: str) -> None:
    with pytest.raises(CallError, match=f"--direct_num_workers: got {number}, expected 0"):
        pipeline_options([f"--direct_num_workers={number}"])
