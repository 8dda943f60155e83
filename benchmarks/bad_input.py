"""A corpus of bad inputs, each given to the command line as a user would: how is it answered?

python benchmarks/bad_input.py [--only FAMILY] [--show] [--figures benchmarks/figures/bad_input.json]

Every input must end with one message that names the file or key and says what to do (refused), or be done with a note
that names it (noted), within a minute, with nothing half-written beside the output. Whatever else happens is a defect:
a traceback, a request to report the case, silence, or a message that names nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.bad_inputs import FAMILIES, Bad, Ready, make_ready  # noqa: E402
from sdseg.__main__ import main as command_line  # noqa: E402

SECONDS = 60  # an answer that takes longer is none
GOOD = ("refused", "noted")
USUAL = ("no checksum of", "trained on phantoms")  # notes that good inputs get as well


@dataclass(frozen=True)
class Answer:
    """How one bad input was answered."""

    family: str
    name: str
    outcome: str  # refused, noted; or traceback, unexpected, silent, unclear, hang, litter
    status: int | None
    seconds: float
    text: str


class Late(BaseException):
    """The time is up; no TimeoutError, which a handler of OSError would take for one of a file."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(FAMILIES), help="some of the families")
    parser.add_argument("--show", action="store_true", help="print every answer")
    parser.add_argument("--figures", type=Path, help="JSON file to write")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bad input ") as folder:
        ready = make_ready(Path(folder))
        answers = [answer for name in chosen.only or FAMILIES for answer in _family(name, ready, show=chosen.show)]
    counts = Counter((answer.family, answer.outcome) for answer in answers)
    for family in dict.fromkeys(answer.family for answer in answers):
        row = {outcome: number for (own, outcome), number in sorted(counts.items()) if own == family}
        print(f"{family:14}{sum(row.values()):5}  {row}")
    outcomes = Counter(answer.outcome for answer in answers)
    print(f"{'all':14}{len(answers):5}  {dict(sorted(outcomes.items()))}")
    if chosen.figures:
        chosen.figures.write_text(json.dumps(_figures(answers), indent=2) + "\n", encoding="utf-8")
    return int(any(answer.outcome not in GOOD for answer in answers))


def _family(name: str, ready: Ready, *, show: bool) -> Iterator[Answer]:
    for number, bad in enumerate(FAMILIES[name](ready)):
        answer = ask(name, bad, ready.scratch)
        if show or answer.outcome not in GOOD:
            print(f"--- {answer.outcome}: {name} {number} {bad.name}\n{answer.text.strip()[-1500:]}\n", flush=True)
        yield answer


def ask(family: str, bad: Bad, scratch: Path) -> Answer:
    """Give one bad input to the command line, in this process, and judge the answer."""
    before = _hidden(scratch)
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    status: int | None = None
    fault = ""
    start = time.perf_counter()
    signal.signal(signal.SIGALRM, _ring)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            status = command_line([str(word) for word in bad.words])
    except SystemExit as error:
        status = int(error.code or 0) if not isinstance(error.code, str) else 2
    except Late:
        fault = "hang"
    except BaseException:  # whatever it is, a user would see it
        fault = "traceback"
        heard.write(traceback.format_exc())
    finally:
        signal.alarm(0)
        root.removeHandler(handler)
    seconds = time.perf_counter() - start
    text = heard.getvalue()
    outcome = fault or _judged(bad, status, text)
    if outcome in GOOD and (left := _hidden(scratch) - before):
        outcome, text = "litter", f"{text}\nleft behind: {sorted(left)[:3]}"
    bad.clear()
    return Answer(family, bad.name, outcome, status, round(seconds, 3), text)


def _judged(bad: Bad, status: int | None, text: str) -> str:
    if "Traceback (most recent call last)" in text:
        return "traceback"
    if "please report this" in text:
        return "unexpected"
    named = any(word in text for word in bad.about)
    if status == 0:
        marks = ("WARNING", "left out", bad.note)
        lines = [line for line in text.splitlines() if not any(usual in line for usual in USUAL)]
        notes = [line for line in lines if any(mark in line for mark in marks)]
        return "noted" if any(word in line for line in notes for word in bad.about) else "silent"
    helped = any(word in text for word in ("remedy: ", "fix: ", "error: ", "ERROR "))
    return "refused" if named and helped else "unclear"


def _hidden(folder: Path) -> set[str]:
    """What a run leaves behind when it does not clean up."""
    return {str(path) for pattern in ("*.part", "*.old", ".*.part", ".*.old") for path in folder.rglob(pattern)}


def _ring(number: int, frame: FrameType | None) -> None:
    raise Late


def _figures(answers: list[Answer]) -> dict[str, object]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    outcomes = Counter(answer.outcome for answer in answers)
    return {
        "command": "python benchmarks/bad_input.py --figures benchmarks/figures/bad_input.json",
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip() or None,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "inputs": len(answers),
        "outcomes": dict(sorted(outcomes.items())),
        "tracebacks": outcomes["traceback"] + outcomes["unexpected"],
        "silent": outcomes["silent"],
        "slowest_seconds": max((answer.seconds for answer in answers), default=0.0),
        "families": {
            name: dict(sorted(Counter(each.outcome for each in answers if each.family == name).items()))
            for name in dict.fromkeys(answer.family for answer in answers)
        },
        "defects": [
            {key: value for key, value in asdict(each).items() if key != "text"}
            for each in answers
            if each.outcome not in GOOD
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
