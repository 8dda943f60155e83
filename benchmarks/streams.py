"""Threads, streams and batch of one trained model: images per second of a stream of images on this machine's cores.

    python benchmarks/streams.py --export R/export --prepared R/../prepared [--bursts 25]

Each way answers the same test images: so many at a time (batch), by so many requests at once (streams), each with its
own threads. OpenVINO has streams of its own; in ONNX Runtime requests share a session with no threads of their own
beyond `threads` each, and its inter-op threads (`inter`) run branches of the graph side by side. All ways take turns
in one process, a burst each, after a rest; the fastest burst counts, since whatever else the machine does makes the
others longer. Where several streams win, `sdseg predict` could compute several batches at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from sdseg.core.provenance import provenance, version_of  # noqa: E402

REST = 0.05  # seconds before a burst: a process that has just slept is let on the cores at once
Answer = Callable[[Any], Any]  # of a feed


@dataclass(frozen=True)
class Way:
    """How a stream of images is answered."""

    runtime: str
    streams: int  # requests at once
    threads: int  # of each
    batch: int
    inter: int = 1  # of ONNX Runtime: branches at once

    @property
    def key(self) -> tuple[str, int, int, int]:
        """Ways that differ in their batch alone share an open model."""
        return self.runtime, self.streams, self.threads, self.inter


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", type=Path, required=True, help="folder made by 'sdseg export'")
    parser.add_argument("--prepared", type=Path, required=True, help="folder made by 'sdseg prepare'")
    parser.add_argument("--graph", default="model.onnx", help="file of the export (default: model.onnx)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="(default: 1 8)")
    parser.add_argument("--images", type=int, default=16, help="of a burst (default: 16)")
    parser.add_argument("--bursts", type=int, default=25, help="of each way (default: 25)")
    parser.add_argument("--busy", default="nothing else", help="what else the machine did, for the file")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/streams.json")
    chosen = parser.parse_args()
    return write_figures(lambda: figures(chosen), chosen.output)


def figures(chosen: argparse.Namespace) -> dict[str, Any]:
    """A row for each way, against one request at a time with one thread of the same runtime, an image at a time."""
    from sdseg.backends.graph import feed_of
    from sdseg.backends.graph_checksum import open_manifest
    from sdseg.data.store import SliceStore

    made, graph = provenance(("onnxruntime", "openvino"), stage="export.onnx"), chosen.export / chosen.graph
    store, manifest = SliceStore.open(chosen.prepared), open_manifest(graph)
    rows = store.rows_of("test")
    images = store.images[[rows[number % len(rows)] for number in range(chosen.images)]]
    ways = list(all_ways(os.cpu_count() or 1, chosen.batches))
    models = {way.key: opened(graph, way) for way in ways}
    pools = {streams: ThreadPoolExecutor(streams) for streams in {way.streams for way in ways}}
    feeds = {
        batch: [feed_of(manifest, images[start : start + batch], 0) for start in range(0, len(images), batch)]
        for batch in chosen.batches
    }
    seconds: dict[Way, list[float]] = {way: [] for way in ways}
    for burst in range(chosen.bursts + 1):  # the first is not counted
        for way in ways:
            time.sleep(REST)
            begun = time.perf_counter()
            list(pools[way.streams].map(models[way.key], feeds[way.batch]))
            if burst:
                seconds[way].append(time.perf_counter() - begun)
    rates = {way: len(images) / min(each) for way, each in seconds.items()}
    single = {way.runtime: rate for way, rate in rates.items() if way == Way(way.runtime, 1, 1, min(chosen.batches))}
    return {
        "command": f"python benchmarks/streams.py --export {'/'.join(chosen.export.parts[-3:])} "
        f"--prepared {'/'.join(chosen.prepared.parts[-2:])} --bursts {chosen.bursts}",
        "commit": made["commit"],
        "date": made["time"][:10],
        "machine": f"{machine()}, onnxruntime {version_of('onnxruntime')}, openvino {version_of('openvino')}",
        "busy": chosen.busy,
        "size": manifest.image.sides[0],
        "rows": [
            {
                **{name: getattr(way, name) for name in ("runtime", "streams", "threads", "inter", "batch")},
                "images_per_second": round(rate, 1),
                "median_images_per_second": round(len(images) / float(np.median(seconds[way])), 1),
                "times_single": round(rate / single[way.runtime], 2),
            }
            for way, rate in rates.items()
        ],
    }


def all_ways(cores: int, batches: list[int]) -> list[Way]:
    """One core, all cores for one request, and a request for each core."""
    shapes = [(1, 1, 1), (1, cores, 1), (cores, 1, 1)] if cores > 1 else [(1, 1, 1)]
    ways = [
        Way(runtime, streams, threads, batch, inter)
        for runtime in ("onnxruntime", "openvino", "openvino bf16")
        for streams, threads, inter in shapes
        for batch in batches
    ]
    return [*ways, *(Way("onnxruntime", 1, 1, batch, cores) for batch in batches if cores > 1)]


def opened(graph: Path, way: Way) -> Answer:
    """What answers one request; several threads may ask at once."""
    if way.runtime == "onnxruntime":
        import onnxruntime

        from sdseg.backends.onnxruntime import session_options

        options = session_options(way.threads)
        options.inter_op_num_threads = way.inter
        if way.inter > 1:
            options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        return lambda feed: session.run(["probability"], feed)
    from sdseg.backends.graph_checksum import open_manifest
    from sdseg.backends.openvino_support import integer_properties, openvino_core

    compiled = openvino_core().compile_model(
        str(graph),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "bf16" if way.runtime.endswith("bf16") else "f32",
            "NUM_STREAMS": way.streams,
            "INFERENCE_NUM_THREADS": way.streams * way.threads,
        }
        | integer_properties(open_manifest(graph)),
    )
    return lambda feed: compiled.create_infer_request().infer(feed, share_inputs=True)


if __name__ == "__main__":
    sys.exit(main())
