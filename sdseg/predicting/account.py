"""The account of a run: what was done, kept and refused, written as it happens, so that a run can be continued."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sdseg.artifacts import sha256_text, write_json
from sdseg.data.inputs import REPORT, Former, InputFile, shown
from sdseg.errors import UserError

__all__ = ["FORMAT", "KIND", "Account", "fingerprint"]

FORMAT = 1
KIND = "sdseg-predictions"
PARTIAL = ".predict.partial.jsonl"  # one line for each input that is done, until the report is written
Record = dict[str, Any]


class Account:
    """Records of inputs, by what tells them apart. Safe to use from several threads."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.earlier = _read_earlier(output)  # of former runs into the same folder
        self.done: list[Record] = []
        self.failures: list[dict[str, str]] = []
        self._lock = threading.Lock()

    @property
    def former(self) -> Former:
        """What former runs left: names that stay with their inputs, and files that are nobody's input."""
        folder = self.output.resolve()
        return Former(
            {key: str(record["name"]) for key, record in self.earlier.items()},
            frozenset(folder / name for record in self.earlier.values() for name in record["outputs"].values()),
        )

    def kept(self, file: InputFile, kinds: Iterable[str], model: str) -> bool:
        """Whether a former run has made all `kinds` of results of this very input with this very model.

        If so it is noted as done. An input is the same while its size and time of change are; its results, while they
        are there at the size they were written with.
        """
        record = self.earlier.get(file.key)
        if (
            record is None
            or record["model"] != model
            or not record["fingerprint"]  # the files could not be looked at: nothing says that they are the same
            or record["fingerprint"] != fingerprint(file)
            or any(kind not in record["outputs"] for kind in kinds)
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

    def add(self, file: InputFile, record: Record) -> None:
        """Note an input that is done, at once and for good."""
        sizes = {kind: (self.output / name).stat().st_size for kind, name in record["outputs"].items()}
        whole = {
            "input": str(file.path),
            **({"series": file.uid} if file.uid else {}),
            "key": file.key,
            "name": file.name,
            **record,
            "bytes": sizes,
            "fingerprint": fingerprint(file),
            "kept": False,
        }
        line = json.dumps(whole, ensure_ascii=False)
        with self._lock:
            self.done.append(whole)
            with (self.output / PARTIAL).open("a", encoding="utf-8") as stream:
                stream.write(f"\n{line}\n")  # on a line of its own also where a kill cut off the one before

    def fail(self, error: UserError, path: Path | None = None) -> None:
        """Note what could not be done, and why."""
        first, *listed = (line.strip().removeprefix("- ") for line in error.what.splitlines())
        what = f"{first} {'; '.join(listed)}".strip()
        with self._lock:
            self.failures.append(
                {"input": shown(Path(path or error.where or "")), "problem": what, "remedy": error.remedy}
            )

    def close(self, report: dict[str, Any], order: Iterable[str]) -> None:
        """Write predict.json: `report`, then the inputs in the order of their keys, and those of former runs."""
        places = {key: place for place, key in enumerate(order)}
        self.done.sort(key=lambda record: places.get(record["key"], len(places)))
        self.failures.sort(key=lambda failure: failure["input"])
        now = {record["key"] for record in self.done}
        write_json(
            self.output / REPORT,
            {
                "format": FORMAT,
                "kind": KIND,
                **report,
                "n_done": len(self.done),
                "n_kept": sum(record["kept"] for record in self.done),
                "n_failed": len(self.failures),
                "empty_masks": [record["input"] for record in self.done if record["empty"]],
                "failures": self.failures,
                "inputs": self.done,
                "earlier": [record for key, record in self.earlier.items() if key not in now],
            },
        )
        (self.output / PARTIAL).unlink(missing_ok=True)


def fingerprint(file: InputFile) -> str:
    """A checksum of the sizes and times of change of an input's files; empty where one cannot be looked at."""
    files: Iterable[Path] = file.files or (file.path,)
    try:
        if file.path.suffix.lower() in (".mhd", ".nhdr"):  # the voxels lie in a file beside the header, as x.raw.gz
            files = sorted(each for each in file.path.parent.iterdir() if each.name.startswith(f"{file.path.stem}."))
        found = [(each.name, each.stat()) for each in files]
    except OSError:
        return ""
    return sha256_text("\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in found))


def _read_earlier(output: Path) -> dict[str, Record]:
    """Records of the last report and of a run that was cut off after it."""
    found: dict[str, Record] = {}
    report = output / REPORT
    if report.exists():
        try:
            data = json.loads(report.read_text(encoding="utf-8"))
            ours = data["kind"] == KIND and data["format"] <= FORMAT
            records = [*data["earlier"], *data["inputs"]] if ours else []
        except (OSError, ValueError, KeyError, TypeError):
            ours, records = False, []
        if not ours:
            raise UserError(
                f"the output folder holds a {REPORT} that this version did not write; it would be replaced",
                where=report,
                remedy="name another output folder, or take the file away",
            )
        found = {record["key"]: record for record in records}
    partial = output / PARTIAL
    if partial.exists():
        for line in partial.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # empty, or the line that was being written when a run was cut off
                continue
            found[record["key"]] = record
    return found
