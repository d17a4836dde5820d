"""The page of a run: its training from the log, its ranking from a pass over users."""

from collections.abc import Callable, Iterator
from pathlib import Path

from heterrec_model.evaluation.evaluate import load_generation
from heterrec_model.reporting.examples_part import examples_part
from heterrec_model.reporting.map_part import map_part
from heterrec_model.reporting.measured import MeasuredRun, Wanted, measure
from heterrec_model.reporting.ranking_part import groups_part, metrics_part
from heterrec_model.reporting.reproducing_part import reproducing_part
from heterrec_model.reporting.top_part import top_part
from heterrec_model.reporting.training_part import training_part
from heterrec_model.runs.atomic_files import write_text
from heterrec_model.runs.checkpoints import read_checkpoint
from heterrec_model.runs.run_folder import RunFolder
from heterrec_schemas.errors import CallError
from heterrec_schemas.generation import Generation
from heterrec_schemas.pages.html import Section, note, page

REPORT = "report.html"
"""Name of the page in the folder of the run."""
PARTS: tuple[Callable[[MeasuredRun], Section], ...] = (
    metrics_part,
    groups_part,
    top_part,
    map_part,
    examples_part,
)
"""The sections that need a generation."""
WANTED = Wanted()
"""The default options."""
WITHOUT_DATA = (
    "Metrics beside baselines, recall by groups, coverage, the map of the items and example users need the generation: add "
    "--data with its folder."
)


def write_report(
    run: str | Path,
    data: str | Path | Generation | None = None,
    output: str | Path | None = None,
    *,
    checkpoint: str = "best",
    wanted: Wanted = WANTED,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the page of a run; equal runs, generations and options give equal bytes with the same release.

    Args:
        run: folder of the run.
        data: the generation that it was trained on, or its output folder; None leaves out what needs it.
        output: path of the page; None writes report.html into the folder of the run.
        checkpoint: best, last, or the name of a checkpoint.
        wanted: what is shown of the generation.
        on_progress: called with a line that says what is done.

    Returns:
        The path of the page.

    Raises:
        CallError: the run, the checkpoint, a baseline, the split or the feature does not exist; the output is a folder.
        CorruptCheckpointError: a checkpoint is damaged.
        GenerationError: the generation does not exist, is damaged, or is not that of a run.
        RunError: the page cannot be written, or a score is not finite.
    """
    folder = RunFolder(run)
    path = folder.path / REPORT if output is None else Path(output)
    if path.is_dir():
        raise CallError(
            f"--output {path} is a folder",
            expected="the path of a file",
            todo=f"Name a file, such as {path / REPORT}.",
        )
    title = f"Run {folder.path.resolve().name}"
    config = folder.config()
    about = f"{config.model.name}, checkpoint {checkpoint}, generation {folder.generation().id}"
    write_text(path, page(title, about, _parts(folder, data, checkpoint, wanted, on_progress)))
    return path


def _parts(
    folder: RunFolder,
    data: str | Path | Generation | None,
    checkpoint: str,
    wanted: Wanted,
    on_progress: Callable[[str], None],
) -> Iterator[Section]:
    config = folder.config()
    found = read_checkpoint(folder.checkpoints.find(checkpoint))
    measured = None
    if data is not None:
        measured = measure(folder.path, load_generation(data), checkpoint, wanted, on_progress)
    on_progress("drawing")
    yield training_part(folder, config, found.state["progress"]["best_step"])
    if measured is None:
        yield Section("Ranking", [note(WITHOUT_DATA)])
    else:
        yield from (part(measured) for part in PARTS)
    yield reproducing_part(folder, config, found)
