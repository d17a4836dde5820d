"""`validate`: a spec against the data's schema and a sample; every mistake in one go, nothing written."""

import json
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from heterrec_pipeline.checking.check import check_tables
from heterrec_pipeline.checking.sample import Sample, sample_tables
from heterrec_schemas.errors import DataError, HeterrecError, SpecError
from heterrec_schemas.feature_spec import salvage_spec


@dataclass(frozen=True)
class Validation:
    """What was found: samples of every table, mistakes, and warnings."""

    samples: list[Sample]
    problems: list[HeterrecError]
    warnings: list[str]

    @property
    def mistakes(self) -> list[str]:
        """Every mistake on its own, those of the spec first."""
        listed = []
        for problem in self.problems:
            lines = problem.message.splitlines()
            # A spec's mistakes come as a list under a headline.
            several = isinstance(problem, SpecError) and len(lines) > 1
            listed += [line.strip() for line in lines[1:]] if several else [problem.message]
        return listed

    def as_json(self) -> dict[str, Any]:
        """The findings as plain data."""
        return {
            "valid": not self.problems,
            "mistakes": self.mistakes,
            "warnings": self.warnings,
            "tables": [
                {
                    "table": s.table,
                    "files": s.files,
                    "bytes": s.bytes,
                    "sampled_rows": s.rows,
                    "set_aside": s.aside,
                    "reasons": {str(r): n for r, n in s.reasons.items()},
                    "missing_share": {k: round(v, 6) for k, v in s.missing.items()},
                }
                for s in self.samples
            ],
        }


def validate(text: str, base: str, where: str = "spec") -> Validation:
    """Hold a spec against its data; of a faulty spec, as much of it as can be read.

    Args:
        text: the spec's YAML.
        base: the input folder.
        where: what messages call the spec.
    """
    spec, mistakes = salvage_spec(text, where=where)
    if spec is None:
        return Validation([], [mistakes] if mistakes else [], [])
    checked = check_tables(spec, base)
    if mistakes:
        checked.problems.insert(0, mistakes)
    problems = checked.problems
    warnings = list(spec.warnings())
    samples = [] if problems else sample_tables(spec, checked, problems)
    limit = spec.limits.max_reject_ratio
    for sample in samples:
        if sample.rows == 0 and not problems and not sample.table.startswith("items.joins"):
            problems.append(DataError(f"{sample.table}: the table holds no rows"))
        for reason, count in sample.reasons.most_common():
            warnings.append(
                f"{sample.table}: {count:,} of {sample.rows:,} sampled rows: {reason}; "
                f"{sample.examples[reason]}"
            )
        if sample.rows and sample.aside / sample.rows > limit:
            problems.append(
                DataError(
                    f"{sample.table}: {sample.aside:,} of {sample.rows:,} sampled rows would be set "
                    f"aside, more than limits.max_reject_ratio allows ({limit:.1%})",
                    todo="Mend the input or the spec, or raise the limit.",
                )
            )
        for name, share in sample.missing.items():
            if share == 1.0 and sample.rows:
                warnings.append(
                    f"{sample.table}: feature {name!r} is missing in all {sample.rows:,} sampled rows; "
                    "a build refuses a feature without any value"
                )
    return Validation(samples, problems, warnings)


def run_validate(text: str, base: str, *, where: str, as_json: bool, console: Console) -> None:
    """Print what `validate` finds.

    Raises:
        HeterrecError: the mistakes, when there are any (after the JSON was printed, if asked for).
    """
    found = validate(text, base, where)
    if as_json:
        console.print_json(json.dumps(found.as_json()))
    else:
        if found.samples:
            console.print(_table(found.samples))
        for warning in found.warnings:
            console.print(
                f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True
            )
    if found.problems:
        count = len(found.mistakes)
        listed = "\n".join(f"  {m}" for m in found.mistakes)
        raise DataError(f"{count} mistake{'s' if count != 1 else ''}:\n{listed}")
    if not as_json:
        console.print("The spec fits the data. Nothing was written.", highlight=False)


def _table(samples: list[Sample]) -> Table:
    table = Table(title="A sample of every table", box=box.SIMPLE, title_justify="left")
    for name in ("table", "files", "bytes", "sampled", "set aside", "missing"):
        left = name in ("table", "missing")
        table.add_column(name, justify="left" if left else "right", no_wrap=name != "missing")
    for s in samples:
        missing = ", ".join(f"{k} {v:.1%}" for k, v in s.missing.items())
        table.add_row(s.table, str(s.files), f"{s.bytes:,}", f"{s.rows:,}", f"{s.aside:,}", missing)
    return table
