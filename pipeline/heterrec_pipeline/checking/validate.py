"""`validate`: check a spec against the data's schema and a sample; all errors are reported together, nothing is written."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from heterrec_pipeline.checking.changes import (
    ended_features,
    feature_of_call,
    refused_changes,
    without_vocabularies,
)
from heterrec_pipeline.checking.check import check_tables
from heterrec_pipeline.checking.doubts.find import doubts
from heterrec_pipeline.checking.left_out import all_left_out, lists_that_erase
from heterrec_pipeline.checking.outlook import (
    BaseOutlook,
    VocabularyOutlook,
    imported_outlook,
    outlook,
    unmet_vocabularies,
)
from heterrec_pipeline.checking.parent import open_parent
from heterrec_pipeline.checking.reject_hints import reject_hints
from heterrec_pipeline.checking.reject_limit import Excess, as_reason, percent, way_out
from heterrec_pipeline.checking.sample import Sample, Tables, all_keys, sample_tables
from heterrec_pipeline.checking.seen_values import seen_values
from heterrec_pipeline.checking.user_keys import refused_key
from heterrec_pipeline.reading.empty_files import skipped
from heterrec_pipeline.reading.erased import erased
from heterrec_pipeline.reading.spec_lines import in_yaml
from heterrec_schemas.errors import DataError, HeterrecError, SpecError
from heterrec_schemas.feature_spec import FeatureSpec, salvage_spec


@dataclass(frozen=True)
class MetKeys:
    """How many entries of a list of what is erased occur in the samples.

    Attributes:
        list: erase.users, erase.items or erase.values.<vocabulary>.
        listed: number of distinct keys or values in it.
        met: number of those that some sampled row has.
    """

    list: str
    listed: int
    met: int


@dataclass(frozen=True)
class Validation:
    """The findings about a spec and its data.

    Attributes:
        samples: a sample of every table.
        problems: the errors.
        warnings: texts for a person.
        erase: the lists of what is erased.
        base: what a refresh would find in its parent; None for a build, and if there are errors.
        imported: the vocabularies of other systems against the data; empty if there are errors.
    """

    samples: list[Sample]
    problems: list[HeterrecError]
    warnings: list[str]
    erase: list[MetKeys] = field(default_factory=list)
    base: BaseOutlook | None = None
    imported: list[VocabularyOutlook] = field(default_factory=list)

    @property
    def mistakes(self) -> list[str]:
        """One message per error, those of the spec first."""
        listed = []
        for problem in self.problems:
            lines = problem.message.splitlines()
            # The errors of a spec are a list under a headline.
            several = isinstance(problem, SpecError) and len(lines) > 1
            listed += [line.strip() for line in lines[1:]] if several else [problem.message]
        return listed

    def as_json(self) -> dict[str, Any]:
        """The findings for scripts."""
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
                    "set_aside": s.rejected,
                    "erased": s.erased,
                    "filtered": s.filtered,
                    "reasons": {str(r): n for r, n in s.reasons.items()},
                    "missing_share": {k: round(v, 6) for k, v in s.missing.items()},
                }
                for s in self.samples
            ],
            "erase": [asdict(e) for e in self.erase],
            **({"base": self.base.as_json()} if self.base else {}),
            **({"vocabularies": [asdict(v) for v in self.imported]} if self.imported else {}),
        }


def validate(
    text: str,
    base: str,
    where: str = "spec",
    *,
    parent: str | None = None,
    refit: Sequence[str] = (),
) -> Validation:
    """Check a spec against its data; only the readable part of a faulty spec is checked.

    Args:
        text: the spec's YAML.
        base: the input folder.
        where: the name of the spec in messages.
        parent: the generation to refresh, or its output folder; None to check a build.
        refit: names of features that the refresh fits anew.
    """
    spec, mistakes = salvage_spec(text, where=where)
    if spec is None:
        return Validation([], [mistakes] if mistakes else [], [])
    known = open_parent(parent) if parent is not None else None
    checked = check_tables(without_vocabularies(spec, known.features if known else ()), base)
    if mistakes:
        checked.problems.insert(0, mistakes)
    problems = checked.problems
    warnings = [*spec.warnings(), *skipped(checked.empty)]
    if known is not None:
        problems += refused_key(known, spec, checked.user_key)
        problems += refused_changes(known, spec, [feature_of_call(name) for name in refit])
        warnings += [f"the feature {name!r} ends" for name in ended_features(known, spec)]
    samples = [] if problems else sample_tables(spec, checked, problems)
    for sample in samples:
        if sample.rows == 0 and not problems and not sample.table.startswith("items.joins"):
            problems.append(_no_rows(spec, sample))
        problems += _too_many_rejects(sample)
        warnings += _sample_warnings(spec, sample)
    if samples and not problems:
        warnings += doubts(spec, checked, samples, datetime.now(UTC), all_keys)
    base_outlook, imported = None, list[VocabularyOutlook]()
    if (known is not None or checked.imported) and not problems:
        seen = seen_values(spec, checked)
        imported = list(imported_outlook(spec, checked.imported, seen))
        warnings += unmet_vocabularies(imported)
        if known is not None:
            base_outlook = outlook(known, spec, checked.input_files(), seen)
    lists = [] if problems else list(_met_keys(checked, samples))
    return Validation(samples, problems, warnings, lists, base_outlook, imported)


def _met_keys(tables: Tables, samples: Sequence[Sample]) -> Iterator[MetKeys]:
    for listed in tables.erasures.every:
        met = set[str]().union(*(s.met.get(listed.name, ()) for s in samples))
        yield MetKeys(listed.name, len(erased(listed).texts), len(met))


def _no_rows(spec: FeatureSpec, sample: Sample) -> HeterrecError:
    if not sample.filtered:
        if not sample.erased:
            return DataError(f"{sample.table}: the table has no rows")
        return DataError(
            f"{sample.table}: all {sample.erased:,} rows are erased",
            todo=f"Check {' and '.join(lists_that_erase(spec, sample.table))}.",
        )
    read = sample.erased + sample.filtered
    return all_left_out(spec, sample.table, read, sample.filtered, whole=sample.whole)


def _too_many_rejects(sample: Sample) -> list[HeterrecError]:
    problems: list[HeterrecError] = []
    limits = sample.limits
    for limit, ratio in limits.reject_ratios.items():
        rejected = sample.counted[limit]
        if not sample.rows or rejected / sample.rows <= ratio:
            continue
        reason, _ = sample.dominant(limit)
        excess = Excess("", str(reason), rejected / sample.rows)
        problems.append(
            DataError(
                f"{sample.table}: {rejected:,} of {sample.rows:,} sampled rows would be rejected{as_reason(limit)}, "
                f"more than {limits.path_of(limit)} allows ({percent(ratio)})",
                todo=way_out(limits, [excess]),
            )
        )
    return problems


def _sample_warnings(spec: FeatureSpec, sample: Sample) -> list[str]:
    warnings = []
    for reason, count in sample.reasons.most_common():
        hints = reject_hints(
            spec, sample.table, reason, sample.values[reason], sample.columns[reason]
        )
        found = "; ".join([sample.examples[reason][0], *hints])
        warnings.append(
            f"{sample.table}: {count:,} of {sample.rows:,} sampled rows: {reason}; {found}"
        )
    if sample.null_words:
        counted = ", ".join(f"{word!r} ({n:,})" for word, n in sample.null_words.most_common())
        words = ", ".join(in_yaml(word) for word in sorted(sample.null_words))
        warnings.append(
            f"{sample.table}: {sample.null_words.total():,} of the sampled keys are {counted}, ids like any other; if they "
            f"mean that the id is missing, write missing_values: [{words}] into {sample.table}"
        )
    return warnings + [
        f"{sample.table}: feature {name!r} is missing in all {sample.rows:,} sampled rows; "
        "a build rejects a feature without any value"
        for name, share in sample.missing.items()
        if share == 1.0 and sample.rows
    ]
