"""The account of a run: what was done, kept and refused, written as it happens, so that a run can be continued."""

from __future__ import annotations

import json
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sdseg.artifacts.results.predictions import KIND, PredictedInput, Predictions
from sdseg.artifacts.results.record import FORMAT
from sdseg.core.errors import UserError
from sdseg.core.files import sha256_file, sha256_text, write_json
from sdseg.data.mask_rule import MaskRule
from sdseg.inference.find_inputs import REPORT, EarlierResults, InputFile, printable
from sdseg.inference.run_files import placed_beside
from sdseg.io.itk import data_files, is_itk

__all__ = ["RunLog", "input_fingerprint"]

log = logging.getLogger("sdseg.inference.predict")

# Of records that do not tell: structures overlapped, and nothing was mended in masks.
BEFORE = {"exclusive": False, "largest_component": False, "fill_holes": False}
PARTIAL = ".predict.partial.jsonl"  # one line for each input that is done, until the report is written
Record = dict[str, Any]


class RunLog:
    """Records of inputs, by what tells them apart. Safe to use from several threads."""

    def __init__(self, output: Path) -> None:
        self.output = output
        records, self.run_files = _read_earlier(output)  # of former runs into the same folder, the latest last
        self.earlier = {record["key"]: record for record in records if not record.get("withdrawn")}
        self._written = _written(records)
        self._placed = {name for one in records if not one.get("withdrawn") for name in one["outputs"].values()}
        self._owners = {name.lower(): record for record in self.earlier.values() for name in record["outputs"].values()}
        self.done: list[Record] = []
        self.failures: list[dict[str, str]] = []
        self._lock = threading.Lock()

    @property
    def earlier_results(self) -> EarlierResults:
        """What former runs left: names that stay with their inputs, and files that are nobody's input."""
        folder = self.output.resolve()
        return EarlierResults(
            {key: str(record["name"]) for key, record in self.earlier.items()},
            frozenset(folder / name for name in self._placed),
        )

    def kept(
        self,
        file: InputFile,
        targets: Mapping[str, str],
        model: str,
        rule: MaskRule,
        samples: int | None = None,
        tiles: Record | None = None,
    ) -> bool:
        """Whether a former run has made all `targets` (kind -> name) of this very input with this model and `rule`.

        `samples`: hypotheses that were asked of the model; None: its own number. `tiles`: how the image was seen in
        them; None: as a whole. If so it is noted as done. An input is
        the same while its size and time of change are; its results, while they are there at the size they were written
        with.
        """
        record = self.earlier.get(file.key)
        if (
            record is None
            or record["model"] != model
            or record.get("samples") != samples
            or record.get("tiles") != tiles
            or BEFORE | record.get("rule", {"threshold": rule.threshold}) != asdict(rule)
            or not record["fingerprint"]  # the files could not be looked at: nothing says that they are the same
            or record["fingerprint"] != input_fingerprint(file)
            or any(record["outputs"].get(kind) != name for kind, name in targets.items())
        ):
            return False
        for kind, name in record["outputs"].items():
            try:
                if (self.output / name).stat().st_size != record["bytes"][kind]:
                    return False
            except OSError:
                return False
        with self._lock:
            self.done.append({**record, "kept": True})
        return True

    def ours(self, name: str, *, by_checksum: bool = False) -> bool:
        """Whether the file `name` of the output folder is as a former run wrote it, and not anyone else's.

        `by_checksum`: its size, which is all that an earlier version noted, is not enough.
        """
        path = self.output / name
        try:
            size, marks = None if by_checksum else path.stat().st_size, self._written.get(name, set())
            return any(mark == size or (isinstance(mark, str) and mark == sha256_file(path)) for mark in marks)
        except OSError:
            return False

    def owner(self, name: str) -> Record | None:
        """The record of a former run in which `name` is a result; upper and lower case are one, as on many disks."""
        return self._owners.get(name.lower())

    def knows(self, name: str) -> bool:
        """Whether a former run wrote a file of this name."""
        return name in self._written

    def note(self, file: InputFile, record: Record, staged: Path) -> Record:
        """Write down, for good, what is about to be put in its place: the results of an input, which lie in `staged`.

        A run that is killed in between then knows its own files. Gives the whole record, for `add` or `withdraw`.
        """
        results = {kind: staged / name for kind, name in record["outputs"].items()}
        whole = PredictedInput.checked(
            input=str(file.path),
            **({"series": file.uid} if file.uid else {}),
            **({"channels": [str(part.path) for part in file.channels]} if file.channels else {}),
            key=file.key,
            name=file.name,
            **record,
            bytes={kind: path.stat().st_size for kind, path in results.items()},
            checksums={kind: sha256_file(path) for kind, path in results.items()},
            fingerprint=input_fingerprint(file),
            kept=False,
        ).content()
        self._append(whole)
        return whole

    def add(self, record: Record) -> None:
        """Count an input whose results are in their places."""
        with self._lock:
            self.done.append(record)

    def withdraw(self, record: Record) -> None:
        """Take back what was noted: the results did not get to their places."""
        self._append({**record, "withdrawn": True})

    def _append(self, record: Record) -> None:
        line = json.dumps(record, ensure_ascii=False)
        with self._lock, (self.output / PARTIAL).open("a", encoding="utf-8") as stream:
            stream.write(f"\n{line}\n")  # on a line of its own also where a kill cut off the one before

    def fail(self, error: UserError, path: Path | None = None) -> None:
        """Note what could not be done, and why."""
        first, *others = (line.strip().removeprefix("- ") for line in error.what.splitlines())
        what = f"{first} {'; '.join(others)}".strip()
        with self._lock:
            self.failures.append(
                {"input": printable(Path(path or error.where or "")), "problem": what, "remedy": error.remedy}
            )

    def close(
        self,
        report: dict[str, Any],
        order: Iterable[str],
        beside: Callable[[list[Record]], Mapping[str, Iterable[str]]] = lambda _: {},
    ) -> None:
        """Write predict.json: `report`, then the inputs in the order of their keys, and those of former runs.

        `beside` makes of all these records the lines of the files of the whole run, by name.
        """
        places = {key: place for place, key in enumerate(order)}
        self.done.sort(key=lambda record: places.get(record["key"], len(places)))
        self.failures.sort(key=lambda failure: failure["input"])
        now = {record["key"] for record in self.done}
        earlier = [record for key, record in self.earlier.items() if key not in now]
        self._remove_superseded([*self.done, *earlier])
        with placed_beside(self.output, beside([*self.done, *earlier])) as checksums:
            # First the report, which knows the files as they are and as they will be: a kill in between loses neither.
            known = {name: (checksum, *self.run_files.get(name, ())[:2]) for name, checksum in checksums.items()}
            written = Predictions.checked(
                format=FORMAT,
                kind=KIND,
                **report,
                run_files={**self.run_files, **known},
                n_done=len(self.done),
                n_kept=sum(record["kept"] for record in self.done),
                n_failed=len(self.failures),
                empty_masks=[record["input"] for record in self.done if record["empty"]],
                failures=self.failures,
                inputs=[PredictedInput.model_validate(record) for record in self.done],
                earlier=[PredictedInput.model_validate(record) for record in earlier],
            )
            write_json(self.output / REPORT, written.content())
        (self.output / PARTIAL).unlink(missing_ok=True)

    def _remove_superseded(self, records: Iterable[Record]) -> None:
        """Remove results of former runs that no record names any more: an input made anew has fewer kinds of them.

        Forgotten they would be taken for inputs, or for files of the user's. One that was changed since is the user's.
        """
        current = {name.lower() for record in records for name in record["outputs"].values()}
        left = [name for name in self._written if name.lower() not in current]
        superseded = [name for name in left if self.ours(name, by_checksum=True)]
        for name in superseded:
            (self.output / name).unlink()
        if superseded:
            log.info(
                "removed %d results of former runs, whose inputs have others now (first: %s)",
                len(superseded),
                superseded[0],
            )


def input_fingerprint(file: InputFile) -> str:
    """A checksum of the sizes and times of change of an input's files; empty where one cannot be looked at."""
    try:
        entries = [(each.name, each.stat()) for part in file.parts for each in _files_of(part)]
    except (OSError, UserError):
        return ""
    return sha256_text("\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in entries))


def _files_of(part: InputFile) -> Iterable[Path]:
    if is_itk(part.path):  # the voxels may lie in files beside the header
        return part.path, *data_files(part.path)
    return part.files or (part.path,)


def _read_earlier(output: Path) -> tuple[list[Record], dict[str, tuple[str, ...]]]:
    """Records of the last report and of a run that was cut off after it; checksums of the files of whole runs."""
    records: list[Record] = []
    run_files: dict[str, tuple[str, ...]] = {}
    report = output / REPORT
    if report.exists():
        try:
            data = json.loads(report.read_text(encoding="utf-8"))
            ours = data["kind"] == KIND and data["format"] <= FORMAT
            records = [*data["earlier"], *data["inputs"]] if ours else []
            run_files = {name: tuple(checksums) for name, checksums in data.get("run_files", {}).items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            ours = False
        if not ours:
            raise UserError(
                f"the output folder holds a {REPORT} that this version did not write; it would be replaced",
                where=report,
                remedy="name another output folder, or take the file away",
            )
    partial = output / PARTIAL
    if partial.exists():
        for line in partial.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # empty, or the line that was being written when a run was cut off
                continue
            if record.get("withdrawn"):  # the line that was withdrawn is the last of this input
                next(one for one in reversed(records) if one["key"] == record["key"])["withdrawn"] = True
            else:
                records.append(record)
    return records, run_files


def _written(records: Iterable[Record]) -> dict[str, set[int | str]]:
    """Name of each result -> SHA-256 of what was ever written there, or the size, where an earlier version noted that.

    Of a name several are known where a run was killed between noting the new file and putting it in its place.
    """
    written: dict[str, set[int | str]] = defaultdict(set)
    for record in records:
        for kind, name in record["outputs"].items():
            written[name].add(record.get("checksums", {}).get(kind) or record["bytes"][kind])
    return written
