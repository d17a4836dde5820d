"""The report of a study: tables.md and figures, from the rows alone."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heterrec_model.runs.atomic_files import write_text
from heterrec_model.studies.reporting.results import Table, result_tables
from heterrec_model.studies.reporting.tables import TABLES, markdown
from heterrec_model.studies.study_file import Study
from heterrec_schemas.errors import CallError, with_extra


@dataclass(frozen=True)
class Report:
    """The files of a report.

    Attributes:
        tables: path of tables.md.
        figures: paths of the figures; none without matplotlib.
    """

    tables: Path
    figures: tuple[Path, ...]

    def to_json(self) -> dict[str, Any]:
        """The paths as texts."""
        return {"tables": str(self.tables), "figures": [str(path) for path in self.figures]}


def write_report(study: Study, results: str | Path) -> Report:
    """Write the tables and figures of the rows that exist; needs neither the data nor the runs.

    Without matplotlib the figures are left out, with a warning.

    Raises:
        CallError: there are no rows, or a file of the results is damaged.
        RunError: a file cannot be written.
    """
    folder = Path(results) / study.name
    tables = result_tables(study, results)
    if not tables:
        raise CallError(
            f"there are no rows of the study {study.name} in {folder}",
            todo="Run the study without --report-only, or name the folder of its results with --results.",
        )
    figures = _figures(study, tables, folder)
    path = folder / TABLES
    write_text(path, markdown(study, tables, [figure.name for figure in figures]))
    return Report(path, figures)


def _figures(study: Study, tables: Sequence[Table], folder: Path) -> tuple[Path, ...]:
    try:
        from heterrec_model.studies.reporting.figures import FIGURES, write_figures
    except ImportError as error:
        warnings.warn(f"no figures: {error}. {with_extra('study')}", stacklevel=3)
        return ()
    return tuple(write_figures(study, tables, folder / FIGURES))
