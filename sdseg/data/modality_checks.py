"""Values of volumes that say another modality than the configuration does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from sdseg.data.intensities import Spread
from sdseg.data.read_dataset import ReadCase
from sdseg.datasets.sources import Source

__all__ = ["AIR", "contradictions"]

AIR = -1000.0  # Hounsfield units


def contradictions(source: Source, window: tuple[float, float], read_cases: Sequence[ReadCase]) -> Iterator[str]:
    """One problem for each channel of a dataset of the user's own whose values cannot be of its modality.

    A CT has values below 0 in one volume at least, unless its window begins at 0 or above; MR, PET and ultrasound have
    none as low as air has in a CT. Where scanners differ, some volumes alone are odd: that is a warning
    (dataset_warnings.py).
    """
    if source.name != "own" or not read_cases or source.modality in ("rgb", "other"):
        return
    for number, name in enumerate(source.channels or ("",)):
        spreads = [each.facts.channels[number] if name else each.facts.spread for each in read_cases]
        problem = _contradiction(source, window, spreads)
        if problem:
            yield (f"channel {name}: " if name else "") + problem


def _contradiction(source: Source, window: tuple[float, float], spreads: Sequence[Spread]) -> str:
    claim = f"'modality: {source.modality}' contradicts the files: "
    windowed = source.normalisation is None and not source.normalisations
    if source.modality == "ct" and windowed and window[0] < 0 and all(each.low >= 0 for each in spreads):
        return (
            f"{claim}no value below 0 in {len(spreads)} volume(s), and Hounsfield units of air are {AIR:g}; of MR, PET "
            "or ultrasound say so (or 'other'), and each volume is normalised by its own values; export a CT with its "
            "Hounsfield units; of other fixed units say 'modality: other' with 'normalisation: {method: window}'"
        )
    if source.modality != "ct" and median(each.p1 for each in spreads) <= AIR:
        return (
            f"{claim}1 % of the values of most volumes lie at {AIR:g} or below, as air in Hounsfield units; say "
            "'modality: ct' with 'windows', or 'other'"
        )
    return ""
