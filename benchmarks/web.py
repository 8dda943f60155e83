"""How fast a model is in one HTML file, beside ONNX Runtime in Python on the same machine, and how much memory it has.

    python benchmarks/web.py --export R/export --prepared R/../prepared --threads 1 2

The page is opened in headless Chromium (SDSEG_CHROMIUM, or one on the PATH): from disk, where browsers give it one
thread, and from a server on this machine whose headers allow several. Page and Python compute the same test images in
turns, so that whatever else the machine does slows both; on a busy one the fastest call says most. `ready` is the time
from opening the page until its model is open; memory is what all processes of the browser hold (proportional set size,
Linux) beyond what they held before, and of Python what a process of its own reaches at most.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sdseg.core.files import write_json  # noqa: E402

ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
TIMED = """async ([text, floats]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const values = floats ? new Float32Array(bytes.buffer) : bytes;
  const started = performance.now();
  await sdseg.run("probability", { values, count: 1 });
  return performance.now() - started;
}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", type=Path, required=True, help="folder made by 'sdseg export'")
    parser.add_argument("--prepared", type=Path, required=True, help="folder made by 'sdseg prepare'")
    parser.add_argument("--images", type=int, default=30, help="calls of each (default: 30)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="of ONNX Runtime in Python (default: 1)")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # the process of Python alone, so many threads
    chosen = parser.parse_args()
    if chosen.one is not None:
        print(json.dumps(memory_of_python(chosen)))
        return 0
    measured = measure(chosen)
    report(measured)
    if chosen.output:
        from sdseg.core.provenance import provenance

        made, run = provenance(("onnxruntime",), stage="export.onnx"), chosen.export.parent
        command = ["--export", f"{run.parent.name}/{run.name}/export", "--prepared", f"{run.parent.name}/prepared"]
        words = [*command, "--threads", *map(str, chosen.threads), "--images", str(chosen.images)]
        origin = {"command": f"python benchmarks/web.py {' '.join(words)}", "commit": made["commit"]}
        write_json(chosen.output, {**origin, "date": made["time"][:10], "machine": machine(), **measured})
    return 0


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Every row by its name, and what was measured in."""
    from sdseg.backends.onnxruntime import OnnxBackend
    from sdseg.config.export import Export
    from sdseg.config.web_pages import WebPages
    from sdseg.export.web.browser_backend import BrowserBackend, open_browser
    from sdseg.export.web.html_file import export_web

    graph = chosen.export / "model.onnx"
    images = test_images(chosen)
    python = {f"Python, {count} threads": OnnxBackend(graph, threads=count) for count in chosen.threads}
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place, open_browser() as browser:
        page = Path(place) / "segment.html"
        export_web(graph, page, WebPages(), Export())
        without = memory_of_browser()
        opened = {}
        with served(page) as address:
            for name, where in (("page from disk", page.as_uri()), ("page from a server", address)):
                started = time.perf_counter()
                opened[name] = BrowserBackend(browser, page, python[next(iter(python))].manifest, address=where)
                ready = time.perf_counter() - started
                rows[name] = {"ready_s": ready, "megabytes": memory_of_browser() - without}
                without = memory_of_browser()
            times: dict[str, list[float]] = {name: [] for name in (*opened, *python)}
            for image in images:
                for name, backend in python.items():
                    started = time.perf_counter()
                    backend.probability(image[None])
                    times[name].append((time.perf_counter() - started) * 1000)
                for name, each in opened.items():
                    times[name].append(each.page.evaluate(TIMED, each.as_text(image[None])[:2]))
            for name, each in opened.items():
                theirs, ours = python[next(iter(python))].probability(images[:4]), each.probability(images[:4])
                rows[name]["max_abs_difference"] = float(np.abs(ours - theirs).max())
                rows[name]["threads"] = each.page.evaluate("() => sdseg.threads()")
        size = page.stat().st_size
        version = browser.version
    for name, count in zip(python, chosen.threads, strict=True):
        rows[name] = {"threads": count, **alone(chosen, count)}
    for name, values in times.items():
        rows[name]["fastest_ms"] = min(values)
        rows[name]["median_ms"] = statistics.median(values[1:])
        rows[name]["p95_ms"] = float(np.percentile(values[1:], 95))
    return {"rows": rows, "page_megabytes": size / 1e6, "browser": f"chromium {version}", "size": images.shape[1]}


def test_images(chosen: argparse.Namespace) -> Any:
    """[N,H,W,C] of the test split, again from its beginning where there are too few."""
    from sdseg.backends.graph_checksum import open_manifest
    from sdseg.data.store import SliceStore

    graph = open_manifest(chosen.export / "model.onnx")
    store = SliceStore.open(chosen.prepared).with_neighbours(graph.image.neighbours)
    rows = store.rows_of("test")
    return store.images[np.resize(rows, chosen.images)]


@contextmanager
def served(page: Path) -> Iterator[str]:
    """The page on a server of this machine that isolates it, so that its threads may share memory."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words: Any) -> None:
            super().__init__(*words, directory=str(page.parent))

        def end_headers(self) -> None:
            for name, value in ISOLATED.items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *words: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{page.name}"
        server.shutdown()


def memory_of_browser() -> float:
    """Megabytes of the processes below this one, which are the browser's."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
        except OSError:
            continue
    ours = {os.getpid()}
    while below := {child for child, parent in parents.items() if parent in ours} - ours:
        ours |= below
    total = 0
    for process in ours - {os.getpid()}:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, StopIteration):
            continue
    return total / 1024


def alone(chosen: argparse.Namespace, threads: int) -> dict[str, Any]:
    """What a process that does nothing but run the graph takes."""
    words = [sys.executable, __file__, "--export", chosen.export, "--prepared", chosen.prepared, "--one", threads]
    done = subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def memory_of_python(chosen: argparse.Namespace) -> dict[str, Any]:
    from sdseg.backends.onnxruntime import OnnxBackend

    chosen.images = 4
    images = test_images(chosen)
    started = time.perf_counter()
    backend = OnnxBackend(chosen.export / "model.onnx", threads=chosen.one)
    ready = time.perf_counter() - started
    backend.probability(images[:1])
    return {"ready_s": ready, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} cores"


def report(found: dict[str, Any]) -> None:
    print(f"{machine()}; {found['browser']}; {found['size']} pixels; page of {found['page_megabytes']:.1f} MB")
    print("| runs in | threads | one image, ms | fastest, ms | p95, ms | ready, s | MB memory | largest Δp |")
    print("|---|---|---|---|---|---|---|---|")
    for name, row in found["rows"].items():
        apart = f"{row['max_abs_difference']:.1e}" if "max_abs_difference" in row else "0"
        times = " | ".join(f"{row[f'{what}_ms']:.1f}" for what in ("median", "fastest", "p95"))
        figures = f"{times} | {row['ready_s']:.2f} | {row['megabytes']:.0f}"
        print(f"| {name} | {row['threads']} | {figures} | {apart} |")


if __name__ == "__main__":
    sys.exit(main())
