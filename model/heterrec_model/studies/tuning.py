"""Tuning: the same number of trials for every model of a study, judged by the validation split alone."""

from pathlib import Path

from rich.console import Console

from heterrec_model.progress_display import ProgressDisplay
from heterrec_model.studies.plan import open_data
from heterrec_model.studies.pool import WorkerPool
from heterrec_model.studies.search import Search, SearchResult
from heterrec_model.studies.study_file import Study
from heterrec_model.training.stop_request import StopRequest
from heterrec_schemas.errors import CallError, with_extra


def tune(
    study: Study,
    *,
    runs: str | Path,
    results: str | Path,
    trials: int | None = None,
    processes: int = 1,
    again: bool = False,
    quiet: bool = False,
) -> tuple[list[SearchResult], str | None]:
    """Search the settings of every model of a study on each of its data sets, with the same number of trials.

    The first trial has the settings of the study, as far as they are in the space. The same call continues a search.

    Args:
        study: its `tune` section has the space, its `metric` is maximised.
        runs: folder of the run folders, `runs/tuning/<data>/<model>/trial-<n>`.
        results: folder of the results; the trials are in `results/<study>/tuning/<data>/<model>.csv`.
        trials: number of trials per model and data set; None uses that of the study. Failed trials count.
        processes: maximum number of trials in progress at a time.
        again: begin anew where trials of another search exist, instead of refusing them.
        quiet: print nothing.

    Returns:
        One result per model and data set, and the name of the signal that stopped the search early, or None.

    Raises:
        CallError: the space or a setting is wrong, a model has refit epochs, or trials of another search exist.
        GenerationError: a data set cannot be read.
        RunError: a file cannot be written.
    """
    _check_optuna()
    wanted = trials or study.tune.trials
    searches = [
        Search(study, data, model, generation, Path(runs), Path(results))
        for data, generation in open_data(study).items()
        for model in study.models_of(data)
    ]
    for search in searches:
        search.check()
        search.load(again=again)
    stop = StopRequest()
    console = None if quiet else Console(stderr=True, markup=False)
    with stop.listening(), ProgressDisplay(console) as display, WorkerPool(processes) as pool:
        for search in searches:
            if stop.name is None:
                with search.locked():
                    search.finish(wanted, pool, stop, display)
    return [search.result() for search in searches], stop.name


def _check_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise CallError(f"tune needs Optuna: {error}", todo=with_extra("study")) from None
