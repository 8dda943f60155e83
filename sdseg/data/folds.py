"""Cross-validation: the training split in folds of whole groups, drawn once and written; and a store seen from one."""

from __future__ import annotations

import csv
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import csv_text, sha256_file, write_text
from sdseg.core.locks import writes
from sdseg.data.store import SliceStore
from sdseg.datasets.split import drawing_order
from sdseg.datasets.split_files import same_group

__all__ = ["CROSS_VALIDATION", "Folds", "draw_folds", "fold_of_store", "make_folds", "read_folds"]

log = logging.getLogger(__name__)
CROSS_VALIDATION = "cross-validation"  # what stands for a split where every case was held out by a model of its own
HEADER = ["id", "group", "fold"]
ASIDE = "aside"  # the split of cases that are in no fold, for a training on folds


@dataclass(frozen=True)
class Folds:
    """A file of folds: the fold of every training case, from 1."""

    path: Path
    fold_of: Mapping[str, int]
    checksum: str  # of the file

    @property
    def count(self) -> int:
        return max(self.fold_of.values())


@writes("output")
def make_folds(prepared: Path, count: int, output: Path, seed: int = 0) -> None:
    """Write the folds of a store's training split to `output` (id, group, fold), or check those that are there.

    A file that is there is kept to the byte. Raises UserError for more folds than groups, and where the file holds
    other cases or other folds than would be drawn now.
    """
    cases = SliceStore.open(prepared).cases_of("train")
    group_of = {case.case: case.group for case in cases}
    fold_of = draw_folds(group_of, count, seed, where=prepared)
    if output.exists():
        _compare(read_folds(output), fold_of, output)
        log.info("kept: %s", output)
    else:
        write_text(output, csv_text(HEADER, ((case, group, fold_of[case]) for case, group in group_of.items())))
        log.info("written: %s", output)
    sizes = Counter(fold_of.values())
    log.info("%d folds of %s cases", count, ", ".join(str(sizes[fold]) for fold in sorted(sizes)))


def draw_folds(group_of: Mapping[str, str], count: int, seed: int, *, where: Path) -> dict[str, int]:
    """The fold of each case, 1 to `count`; the same for the same seed and cases (`group_of`: case -> group).

    Groups are taken in the order of their size, the largest first, equal ones in that of SHA-256("<seed> <group>");
    each goes to the fold with the fewest cases: no two folds differ by more than the largest group. `where` is for
    the message. Raises UserError where there are fewer groups than folds.
    """
    cases_of: dict[str, list[str]] = defaultdict(list)
    for case, group in group_of.items():
        cases_of[same_group(group)].append(case)
    if count > len(cases_of):
        raise UserError(
            f"{count} folds of {len(cases_of)} group(s): a group cannot be shared, and every fold needs one",
            where=where,
            remedy=f"set 'folds' to {len(cases_of)} or fewer"
            if len(cases_of) > 1
            else "give more patients or sequences, or leave 'folds' out",
        )
    sizes, fold_of = [0] * count, dict[str, int]()
    for group in sorted(cases_of, key=lambda group: (-len(cases_of[group]), drawing_order(seed, group))):
        fold = sizes.index(min(sizes))
        sizes[fold] += len(cases_of[group])
        fold_of.update(dict.fromkeys(cases_of[group], fold + 1))
    return {case: fold_of[case] for case in group_of}


def read_folds(path: Path) -> Folds:
    """The folds of a file. Raises UserError for anything that is not id,group,fold with folds from 1 on."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            header, *lines = list(csv.reader(stream, strict=True)) or [[]]
        fold_of = {case: int(fold) for case, _, fold in filter(None, lines)}
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UserError(
            f"cannot read the folds: {error}", where=path, remedy="name a file made by 'sdseg folds'"
        ) from None
    numbers = set(fold_of.values())
    if header != HEADER or len(numbers) < 2 or numbers != set(range(1, len(numbers) + 1)):
        raise UserError("no file of two or more folds", where=path, remedy="name a file made by 'sdseg folds'")
    return Folds(path, fold_of, sha256_file(path))


def fold_of_store(store: SliceStore, folds: Folds, number: int) -> SliceStore:
    """The store as the training of fold `number` sees it: its cases validate, those of the other folds train.

    The test split stays what it is; validation cases of the split file are set aside. Raises UserError for a fold that
    there is not, and for folds of other cases.
    """
    if not 1 <= number <= folds.count:
        raise UserError(
            f"fold {number} of {folds.count}", where="--fold", remedy=f"give a number from 1 to {folds.count}"
        )
    training = {case.case for case in store.cases_of("train")}
    if training != set(folds.fold_of):
        raise UserError(
            f"the folds are of other cases: {len(training ^ set(folds.fold_of))} of them are in one of the two alone",
            where=folds.path,
            remedy="draw them of this prepared folder with 'sdseg folds', into a new file",
        )
    splits = {case: "val" if fold == number else "train" for case, fold in folds.fold_of.items()}
    splits |= {case.case: "test" for case in store.cases_of("test")}
    cases = (replace(case, split=splits.get(case.case, ASIDE)) for case in store.cases)
    return replace(store, cases=tuple(cases))


def _compare(old: Folds, new: Mapping[str, int], path: Path) -> None:
    """Folds never change silently: scores before and after could not be compared."""
    problems = [f"case without a line: {name}" for name in new if name not in old.fold_of]
    problems += [f"line without a case: {name}" for name in old.fold_of if name not in new]
    problems += [f"another fold: {name}" for name, fold in new.items() if old.fold_of.get(name, fold) != fold]
    if problems:
        raise ListedError(
            f"the folds that are there are not the ones that would be drawn ({len(problems)} problem(s)):",
            problems,
            where=path,
            remedy="keep them and what was prepared with them, or delete the file to draw new ones",
        )
