"""From the settings of a dataset to its record and its cases, be it a known one or the user's own."""

from __future__ import annotations

from pathlib import Path

from sdseg.config.dataset import Dataset
from sdseg.core.errors import ListedError
from sdseg.datasets import own
from sdseg.datasets.layouts import RawCase, annotators_of, find_cases
from sdseg.datasets.sources import Source, source_named

__all__ = ["open_raw"]


def open_raw(settings: Dataset, raw: Path) -> tuple[Source, tuple[RawCase, ...]]:
    """Record and cases of the dataset under `raw`.

    Raises UserError or ListedError where files are missing, unpaired or arranged otherwise, and where an annotator left
    out a case unless the settings allow it.
    """
    if settings.own is not None:
        source, cases = own.own_dataset(settings.own, raw)
    else:
        source = source_named(settings.source)
        cases = find_cases(source, raw)
    if settings.missing_annotators == "refuse":
        _check_annotators(cases, raw)
    return source, cases


def _check_annotators(cases: tuple[RawCase, ...], raw: Path) -> None:
    everyone = annotators_of(cases)
    lacking = {case.id: [name for name in everyone if name not in dict(case.annotations)] for case in cases}
    incomplete = [f"{case}: {', '.join(names)}" for case, names in lacking.items() if names]
    if incomplete:
        raise ListedError(
            f"{len(incomplete)} of {len(cases)} cases lack the mask of an annotator ({', '.join(everyone)}):",
            incomplete,
            where=raw,
            remedy="add the masks (an empty one where there is nothing), or take those there are: "
            "'missing_annotators: allow' of the dataset",
        )
