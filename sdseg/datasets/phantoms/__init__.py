"""Synthetic datasets in exactly the layout of the real ones, the same bytes for the same seed."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from sdseg.core.errors import UserError
from sdseg.core.files import write_json
from sdseg.datasets.phantoms import btcv, cvc, kseg, lidc, mr, refuge2, sts
from sdseg.datasets.phantoms.files import PhantomCase
from sdseg.datasets.sources import source_named

__all__ = ["PHANTOM_SOURCES", "check_source", "write_phantoms"]

_WRITERS: Mapping[str, Callable[[Path, int, float], list[PhantomCase]]] = MappingProxyType(
    {
        "cvc": cvc.write,
        "kseg": kseg.write,
        "refuge2": refuge2.write,
        "btcv": btcv.write,
        "sts": sts.write,
        "lidc": lidc.write,
    }
)
PHANTOM_SOURCES = tuple(_WRITERS)
_OWN: Mapping[str, Callable[[Path, int, float], list[PhantomCase]]] = MappingProxyType({"mr": mr.write})  # of nobody


def check_source(source: str) -> str:
    """The name of a source that there are phantoms of. Raises UserError for another."""
    known = (*_WRITERS, *_OWN)
    name = source if source in _OWN else source_named(source).name
    if name not in known:
        raise UserError(f"there are no phantoms of '{name}'", where="--source", remedy=f"use {', '.join(known)}")
    return name


def write_phantoms(source: str, folder: Path, seed: int, scale: float) -> dict[str, int]:
    """Write the phantom of `source` into an existing empty folder; the number of cases in each split.

    Beside the pictures it leaves `split.csv` (id, group, split) and `phantom.json` (what was asked for). `scale`
    multiplies the number of cases, but each split keeps at least one group. Other cases than those asked for before
    are drawn alike: each has a random generator of its own. Besides known sources there are phantoms that stand in for
    somebody's own data. Raises UserError for an unknown source.
    """
    name = check_source(source)
    cases = {**_WRITERS, **_OWN}[name](folder, seed, scale)
    with (folder / "split.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("id", "group", "split"))
        table.writerows((case.id, case.group, case.split) for case in cases)
    per_split = Counter(case.split for case in cases)
    counts = {split: per_split[split] for split in ("train", "val", "test")}
    groups = len({case.group for case in cases})
    write_json(
        folder / "phantom.json",
        {"source": name, "seed": seed, "scale": scale, "cases": counts, "groups": groups},
    )
    return counts
