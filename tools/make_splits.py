"""Write the committed split files, resources/splits/<source>/<protocol>.csv; the same files every time.

Where the authors published no split, cases are drawn in the order of SHA-256("<seed> <source> <id>"): no random
generator whose algorithm may change, and anyone can repeat it. The id lists of Kvasir-SEG's official split and of the
sample files are taken from the arguments, or else from the committed files.

    python tools/make_splits.py [--kvasir-train LIST --kvasir-val LIST] [--samples FOLDER] [--check]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path

from sdseg.core.files import write_text
from sdseg.datasets.layouts import find_cases
from sdseg.datasets.sources import SOURCES
from sdseg.datasets.split_files import read_split

SEED = 2024
FOLDER = Path(__file__).resolve().parent.parent / "resources" / "splits"
Rows = list[tuple[str, str, str]]  # id, group, split

# Last frame of each of CVC-ClinicDB's 29 video sequences.
# fmt: off
CVC_LAST = (
    25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317, 342, 363, 383, 408, 428, 447, 466, 478, 503,
    528, 546, 571, 591, 612,
)
# fmt: on
BTCV_TEST = ("0001", "0002", "0003", "0004", "0008", "0022", "0025", "0029", "0032", "0035", "0036", "0038")
STS_TEST = ("0010", "0011", "0012")
STS_LARGE = "0009"  # 705 of the 2505 training slices: it stays in training


def main() -> int:
    """Write every split file, or with --check compare them; 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kvasir-train", type=Path, help="text file: ids of the official training part")
    parser.add_argument("--kvasir-val", type=Path, help="text file: ids of the official validation part")
    parser.add_argument("--samples", type=Path, help="folder of real sample files")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    arguments = parser.parse_args()
    official = None
    if arguments.kvasir_train and arguments.kvasir_val:
        official = (arguments.kvasir_train.read_text().split(), arguments.kvasir_val.read_text().split())
    stale = []
    for name, text in split_files(official, arguments.samples).items():
        path = FOLDER / name
        if not path.is_file() or path.read_bytes() != text.encode():
            stale.append(name)
            if not arguments.check:
                write_text(path, text)
    print("\n".join(f"{'differs' if arguments.check else 'written'}: {name}" for name in stale) or "nothing to change")
    return 1 if stale and arguments.check else 0


def split_files(
    official: tuple[Sequence[str], Sequence[str]] | None = None, samples: Path | None = None
) -> dict[str, str]:
    """Text of every split file by its name below resources/splits."""
    train, val = official or _committed_official()
    made: dict[str, Callable[[], Rows]] = {
        "cvc/paper.csv": _cvc_paper,
        "cvc/clean.csv": _cvc_clean,
        "kseg/paper.csv": lambda: _own_groups(_parts(_drawn("kseg", [*train, *val]), val=100, test=100)),
        "kseg/clean.csv": lambda: _own_groups(_parts(_drawn("kseg", train), val=88, test=0) | {"test": list(val)}),
        "refuge2/paper.csv": lambda: _refuge2({"g": "train", "n": "train", "V": "train", "T": "test"}),
        "refuge2/clean.csv": lambda: _refuge2({"g": "train", "n": "train", "V": "val", "T": "test"}),
        "btcv/paper.csv": lambda: _volumes("btcv", _btcv_ids(), BTCV_TEST, val=0),
        "btcv/clean.csv": lambda: _volumes("btcv", _btcv_ids(), BTCV_TEST, val=3),
        "sts/paper.csv": lambda: _volumes("sts", _sts_ids(), STS_TEST, val=0),
        "sts/clean.csv": lambda: _volumes("sts", _sts_ids(), STS_TEST, val=2, never=(STS_LARGE,)),
    }
    made |= {f"{name}/sample.csv": partial(_sample, name, samples) for name in ("cvc", "kseg", "refuge2", "btcv")}
    return {name: _text(rows()) for name, rows in made.items()}


def _cvc_paper() -> Rows:
    """Single frames, as published: neighbours of one sequence lie in several splits."""
    parts = _parts(_drawn("cvc", [str(frame) for frame in range(1, CVC_LAST[-1] + 1)]), val=62, test=62)
    sequence = {str(frame): str(number) for number, frames in _sequences().items() for frame in frames}
    return [(case, sequence[case], split) for split, cases in parts.items() for case in cases]


def _cvc_clean() -> Rows:
    """Whole sequences: four for test, then three for validation, of all choices the first nearest to a tenth."""
    sequences, tenth = _sequences(), round(CVC_LAST[-1] / 10)
    drawn = [int(number) for number in _drawn("cvc", [str(number) for number in sequences])]
    split_of = dict.fromkeys(drawn, "train")

    def distance(numbers: Iterable[int]) -> int:
        return abs(sum(len(sequences[number]) for number in numbers) - tenth)

    for split, count in (("test", 4), ("val", 3)):
        free = [number for number in drawn if split_of[number] == "train"]
        split_of.update(dict.fromkeys(min(combinations(free, count), key=distance), split))
    return [(str(frame), str(number), split_of[number]) for number, frames in sequences.items() for frame in frames]


def _sequences() -> dict[int, range]:
    """Frames of each sequence, both numbered from 1."""
    return {number: range(low + 1, high + 1) for number, (low, high) in enumerate(pairwise((0, *CVC_LAST)), start=1)}


def _refuge2(split_of: dict[str, str]) -> Rows:
    """Glaucoma g0001…g0040 and others n0001…n0360 of training, validation V and test T of 400 each."""
    counts = {"g": 40, "n": 360, "V": 400, "T": 400}
    ids = [f"{kind}{number:04d}" for kind, count in counts.items() for number in range(1, count + 1)]
    return [(case, case, split_of[case[0]]) for case in ids]


def _btcv_ids() -> list[str]:
    return [f"{number:04d}" for number in (*range(1, 11), *range(21, 41))]


def _sts_ids() -> list[str]:
    return [f"{number:04d}" for number in range(1, 13)]


def _volumes(source: str, ids: Sequence[str], test: Sequence[str], *, val: int, never: Sequence[str] = ()) -> Rows:
    """The published test volumes; validation volumes are drawn from the rest, without those of `never`."""
    candidates = _drawn(source, [case for case in ids if case not in test and case not in never])[:val]
    return [(case, case, "test" if case in test else "val" if case in candidates else "train") for case in ids]


def _sample(source: str, samples: Path | None) -> Rows:
    """The few real files used for trials: of REFUGE2 by their parts, two volumes apart, otherwise drawn."""
    if samples is None:
        ids = [row.id for row in read_split(FOLDER / source / "sample.csv")]
    else:
        ids = [case.id for case in find_cases(SOURCES[source], samples / source)]
    if source == "refuge2":
        kinds = {"g": "train", "n": "train", "V": "val", "T": "test"}
        return [(case, case, kinds[case[0]]) for case in ids]
    if source == "btcv":
        return [(case, case, split) for case, split in zip(sorted(ids), ("train", "test"), strict=True)]
    part = max(1, len(ids) // 6)
    return _own_groups(_parts(_drawn(source, ids), val=part, test=part))


def _drawn(source: str, ids: Iterable[str]) -> list[str]:
    return sorted(ids, key=lambda case: hashlib.sha256(f"{SEED} {source} {case}".encode()).hexdigest())


def _parts(drawn: Sequence[str], *, val: int, test: int) -> dict[str, list[str]]:
    """The first drawn cases for test, the next for validation, the rest for training."""
    return {"train": list(drawn[test + val :]), "val": list(drawn[test : test + val]), "test": list(drawn[:test])}


def _own_groups(parts: dict[str, list[str]]) -> Rows:
    """Rows where nothing is known that ties cases together: each is a group of its own."""
    return [(case, case, split) for split, cases in parts.items() for case in cases]


def _committed_official() -> tuple[list[str], list[str]]:
    """Kvasir-SEG's official parts, back from the clean protocol: validation came from training, test is theirs."""
    rows = read_split(FOLDER / "kseg" / "clean.csv")
    return [row.id for row in rows if row.split != "test"], [row.id for row in rows if row.split == "test"]


def _text(rows: Rows) -> str:
    ordered = sorted(rows, key=lambda row: (len(row[0]), row[0]) if row[0].isdigit() else (0, row[0]))
    return "\n".join(",".join(row) for row in [("id", "group", "split"), *ordered]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
