"""The page in a browser against ONNX Runtime in Python, on real prepared cases: by each way in which it computes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdseg.artifacts.manifests import GraphManifest
from sdseg.artifacts.results.parity import Parity
from sdseg.config.export import Export, Precision
from sdseg.config.web_pages import WebPages
from sdseg.core.errors import ListedError, UserError
from sdseg.export.web.browser_backend import BrowserBackend, open_browser

__all__ = ["WrittenPage", "check_in_browser", "precision_of"]

BATCH = 4
GPU_SLICES = 3  # in software each takes a hundred times as long as by WebAssembly
REMEDY = "nothing was kept; export the model in fp32, or widen the tolerances if this difference is acceptable to you"


@dataclass(frozen=True)
class WrittenPage:
    """A page on its way, the model beside it where it has one, and what it was made from."""

    page: Path
    beside: Path | None
    graph: GraphManifest
    graph_file: Path


def check_in_browser(written: WrittenPage, prepared: Path, options: WebPages, settings: Export) -> dict[str, Any]:
    """What the record of a page says of its check; of one with WebGPU both ways to compute are checked.

    WebGPU is that of the browser's software adapter: no GPU is needed, and none is checked. Raises ListedError where
    the page computes something else than ONNX Runtime in Python, NoBrowserError where there is no browser, and
    UserError where it has no such adapter, unless `options.unchecked` is 'keep'.
    """
    model = None if written.beside is None else written.graph_file
    with open_browser(webgpu=options.webgpu) as browser:
        backend = BrowserBackend(browser, written.page, written.graph, model)
        about = {"browser": backend.browser, "parity": _judge(backend, written, prepared, options, settings)}
        if not options.webgpu:
            return about
        backend.page.close()
        backend = BrowserBackend(browser, written.page, written.graph, model, software_adapter=True)
        parity = _judge(backend, written, prepared, options, settings, slices=GPU_SLICES)
        computes = backend.computes()
        if computes["provider"] == "WebGPU":
            return about | {"webgpu_parity": parity}
        if options.unchecked == "refuse":
            raise UserError(
                f"WebGPU could not be checked: {computes['whyNoGpu']}",
                where=written.page.name,
                remedy="use a Chromium that has WebGPU in software, allow it (--unchecked keep), or leave WebGPU out",
            )
        return about | {"webgpu_not_run": computes["whyNoGpu"]}


def precision_of(graph: GraphManifest) -> Precision:
    """In which a graph computes."""
    names: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8", "int8_mixed", "int8_weights")
    return next(name for name in names if name == graph.precision)


def _judge(
    backend: BrowserBackend,
    written: WrittenPage,
    prepared: Path,
    options: WebPages,
    settings: Export,
    slices: int | None = None,
) -> Parity:
    """Over whole cases, or over some slices from the middles of as many. Raises ListedError where the page differs."""
    from sdseg.backends.providers import open_graph
    from sdseg.data.batches import check_store, evenly_spread, slice_batches
    from sdseg.data.mask_rule import MaskRule
    from sdseg.data.store import SliceStore
    from sdseg.export.parity import compare, refusal

    graph = written.graph
    store = SliceStore.open(prepared, verify=True).with_neighbours(graph.image.neighbours)
    cases = check_store(store, written.graph_file, graph.image, graph.structures, "test")
    rule = MaskRule.of(graph)
    if graph.image.tiles is not None or slices is not None:  # which are no whole cases
        rule = replace(rule, largest_component=False, fill_holes=False)
    if slices is None:
        batches = slice_batches(store, evenly_spread(cases, options.parity_cases), BATCH)
    else:
        cases = evenly_spread(cases, slices)
        middles = [replace(case, start=case.start + case.slices // 2, slices=1) for case in cases]
        batches = slice_batches(store, middles, 1)
    precision = precision_of(graph)
    reference = open_graph(written.graph_file, "cpu")
    parity = compare(reference, backend, batches, rule, settings.tolerance(precision), precision)
    if not parity.passed:
        raise refusal(parity, "web page", written.page, REMEDY)
    if backend.problems:
        raise ListedError("the page is not quiet in a browser:", backend.problems, where=written.page, remedy=REMEDY)
    return parity
