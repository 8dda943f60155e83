"""What a job takes besides its work: CPU seconds of a command that only says what is wrong, loaded in three ways.

    python benchmarks/loaded_python.py --checkout ../before --checkout . [--calls 20] [--rounds 6]

Of each checkout the loaded Python of its own code, with the libraries of its own workflow (`preload: true`), runs the
command as a fork; of the last one a Python that loads for itself what it needs does, too. They take turns; CPU seconds
of all processes, server and caller included. Linux alone.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from sdseg.core.errors import UserError  # noqa: E402
from sdseg.core.loaded_python import forks_loaded_python  # noqa: E402
from sdseg.core.provenance import provenance  # noqa: E402

COMMAND = "sdseg evaluate --model no-model --prepared no-store --output no-folder"
# Run in a checkout: for each line of its input, "loaded 20", that many commands; prints the CPU seconds of one.
TAKER = """
import os, resource, subprocess, sys
sys.path[:0] = [os.getcwd(), os.path.join(os.getcwd(), "workflow")]
os.environ["PYTHONPATH"] = os.getcwd()
from jobs import preload
pythons = {"loaded": str(preload(1) / "python"), "by itself": sys.executable}
server = open(f"/proc/self/task/{os.getpid()}/children").read().split()[0]

def seconds():
    fields = open(f"/proc/{server}/stat").read().rpartition(")")[2].split()
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + own.ru_utime + own.ru_stime

def call(way):
    done = subprocess.run([pythons[way], "-m", *sys.argv[1:]], capture_output=True, encoding="utf-8")
    if done.returncode != 2:
        sys.exit(f"expected a message and status 2, got {done.returncode}: {done.stderr}")

call("loaded")  # once the libraries are there
print("ready", flush=True)
for line in sys.stdin:
    way, _, calls = line.rpartition(" ")
    before = seconds()
    for _ in range(int(calls)):
        call(way)
    print((seconds() - before) / int(calls), flush=True)
"""


class Taker:
    """A checkout whose commands are counted."""

    def __init__(self, checkout: Path) -> None:
        git = ["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"]
        found = subprocess.run(git, capture_output=True, encoding="utf-8", check=False)
        if found.returncode != 0 or not (checkout / "workflow" / "jobs.py").is_file():
            raise UserError("no checkout of this project", where=checkout, remedy="name the root of a git checkout")
        self.commit = found.stdout.strip()
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKER, *COMMAND.split()],
            cwd=checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self._answer()

    def seconds(self, way: str, calls: int) -> float:
        """CPU seconds of one command."""
        _stream(self.process.stdin).write(f"{way} {calls}\n")
        _stream(self.process.stdin).flush()
        return float(self._answer())

    def _answer(self) -> str:
        line = _stream(self.process.stdout).readline()
        if not line:
            self.process.communicate()
            raise UserError("its commands do not end as they should", where=self.commit, remedy="see the message above")
        return line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, action="append", required=True, help="root of one; may be repeated")
    parser.add_argument("--calls", type=int, default=20, help="of each turn (default: 20)")
    parser.add_argument("--rounds", type=int, default=6, help="(default: 6)")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/loaded_python.json")
    chosen = parser.parse_args()
    return write_figures(lambda: figures(chosen), chosen.output)


def figures(chosen: argparse.Namespace) -> dict[str, Any]:
    """A row for each checkout, and one for the last without a loaded Python."""
    if not forks_loaded_python():
        raise UserError("this system does not fork what has loaded PyTorch", where=sys.platform, remedy="use Linux")
    made = provenance((), stage="cli.commands")
    takers = [Taker(checkout) for checkout in chosen.checkout]
    turns = [(takers[-1], "by itself", 1), *((taker, "loaded", chosen.calls) for taker in takers)]
    taken: list[list[float]] = [[] for _ in turns]
    for _ in range(chosen.rounds):
        for each, turn in zip(taken, turns, strict=True):
            each.append(turn[0].seconds(*turn[1:]))
    for taker in takers:
        taker.process.communicate()
    return {
        "command": f"python benchmarks/loaded_python.py {' '.join(f'--checkout {taker.commit}' for taker in takers)} "
        f"--calls {chosen.calls} --rounds {chosen.rounds}",
        "commit": made["commit"],
        "date": made["time"][:10],
        "machine": machine(),
        "job": COMMAND,
        "rows": [
            {
                "commit": taker.commit,
                "python": way,
                "cpu_seconds": round(statistics.median(each), 3),
                "least": round(min(each), 3),
                "most": round(max(each), 3),
                "of_the_first": round(statistics.median(each) / statistics.median(taken[0]), 3),
            }
            for each, (taker, way, _) in zip(taken, turns, strict=True)
        ],
    }


def _stream(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise TypeError("a stream of Popen that was asked for")
    return stream


if __name__ == "__main__":
    sys.exit(main())
