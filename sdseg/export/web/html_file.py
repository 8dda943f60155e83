"""A model to one HTML file that opens in a browser, kept only if it computes what ONNX Runtime does in Python."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sdseg.artifacts.manifests import GraphManifest
from sdseg.artifacts.results.web_page import WebPage
from sdseg.backends.graph_checksum import graph_checksum, open_manifest
from sdseg.config.export import Export
from sdseg.config.web_pages import WebPages
from sdseg.core.errors import UserError
from sdseg.core.extras import missing_extra
from sdseg.core.files import atomic_file, read_json, sha256_file, write_json, write_text
from sdseg.core.locks import writes
from sdseg.export.web.browser_backend import NoBrowserError
from sdseg.export.web.browser_check import WrittenPage, check_in_browser, precision_of
from sdseg.export.web.one_file import one_file, runtime_version
from sdseg.export.web.page_contract import check_runs_in_browser, page_contract
from sdseg.export.web.sample_input import SampleInput, phantom_for, sample_from

__all__ = ["export_web"]

log = logging.getLogger(__name__)

RENAME = "give --output another name, or move the file away"


@writes("output")
def export_web(
    model: Path,
    output: Path,
    options: WebPages,
    settings: Export,
    *,
    prepared: Path | None = None,
    sample: Path | None = None,
) -> None:
    """Write the page `output`, `<output's stem>.json` about it and, of a large model, `<stem>.onnx` beside it.

    Parameters
    ----------
    model: an exported graph, the folder of one, or a model folder, which is exported first (`prepared` is needed then).
    settings: of the graph, where one has to be made, and the tolerances.
    prepared: the slice store whose test cases the page is checked on; None: it is not checked, and the record says so.
    sample: the file that the page offers to try; None: a phantom.

    Raises UserError for a model that no browser runs, where the record or the model would replace a file that is no
    part of an earlier page, and where there is no browser to check it in unless `options.unchecked` is 'keep';
    ListedError where the page computes something else than ONNX Runtime in Python.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError("no name of a web page", where=output, remedy="give --output a name that ends in .html")
    earlier = _earlier_record(output)
    with _graph_of(model, prepared, settings) as path:
        graph = open_manifest(path)
        check_runs_in_browser(graph, path)
        chosen = _phantom(graph) if sample is None else sample_from(sample)
        data = path.read_bytes()
        inside = len(data) <= options.most_megabytes * 1e6
        beside = None if inside else output.with_suffix(".onnx")
        if beside is not None:
            _check_replaces_none(beside, path, earlier)
        tolerance = settings.tolerance(precision_of(graph)).max_abs_difference
        contract = page_contract(graph) | {
            "webgpu": {"tolerance": tolerance} if options.webgpu else None,
            "model": {
                "inside": inside,
                "name": output.with_suffix(".onnx").name,
                "bytes": len(data),
                "sha256": sha256_file(path),
            },
            "sample": None if chosen is None else {"name": chosen.name, "about": chosen.about},
        }
        with tempfile.TemporaryDirectory(prefix="sdseg-web-") as place:
            page = Path(place) / output.name
            write_text(page, one_file(contract, data if inside else None, None if chosen is None else chosen.data))
            written = WrittenPage(page, beside, graph, path)
            record = _record(written, output, options, settings, prepared)
            _keep(written, output, record)
    size, checked = record.bytes / 1e6, _checked(record)
    log.info("%s: %.1f MB, opens in a browser; %s", output, size, checked)


def _earlier_record(output: Path) -> WebPage | None:
    """What lies where the record will, if anything. Raises UserError where that is no record of a page."""
    about = output.with_suffix(".json")
    if not os.path.lexists(about):
        return None
    try:
        return read_json(about, WebPage)
    except UserError:
        raise UserError(
            "the record of the page would replace this file, which is none", where=about, remedy=RENAME
        ) from None


def _check_replaces_none(beside: Path, graph_file: Path, earlier: WebPage | None) -> None:
    """Raise UserError where the model beside the page would replace another that no earlier page put there."""
    if not os.path.lexists(beside) or (earlier is not None and earlier.model_file == beside.name):
        return
    if not beside.is_file() or sha256_file(beside) != sha256_file(graph_file):
        raise UserError("the model beside the page would replace this file", where=beside, remedy=RENAME)


def _phantom(graph: GraphManifest) -> SampleInput | None:
    """What the page offers to try; nothing, and a warning, where the package is installed without what draws it."""
    try:
        phantom = phantom_for(graph)
        if phantom is None:
            names = ", ".join(graph.image.channel_names)
            log.warning("the page offers no sample: name a zip of a case's files (%s) by --sample", names)
        return phantom
    except ModuleNotFoundError as error:
        lacking = missing_extra(error, "drawing a phantom")
        if lacking is None:
            raise
        log.warning("the page offers no sample: %s; %s, or name a file by --sample", lacking.what, lacking.remedy)
        return None


@contextmanager
def _graph_of(model: Path, prepared: Path | None, settings: Export) -> Iterator[Path]:
    """The graph that was named, or one made of the model folder for the time of the block."""
    candidates = (model, model / "model.onnx", model / "export" / "model.onnx")
    graph = next((path for path in candidates if path.suffix == ".onnx" and path.is_file()), None)
    if graph is not None:
        yield graph
        return
    if not (model / "config.json").is_file():
        raise UserError(
            "neither an exported graph nor a model folder",
            where=model,
            remedy="name a model.onnx, the folder that 'sdseg export' wrote, or a model folder with --prepared",
        )
    if prepared is None:
        raise UserError(
            "a model folder, of which a graph has to be made and checked first",
            where="--prepared",
            remedy="name a folder made by 'sdseg prepare', or give --model the exported graph",
        )
    from sdseg.export.onnx import export

    with tempfile.TemporaryDirectory(prefix="sdseg-graph-") as place:
        export(model, prepared, Path(place) / "export", settings, shared_settings=True)
        yield Path(place) / "export" / "model.onnx"


def _record(written: WrittenPage, output: Path, options: WebPages, settings: Export, prepared: Path | None) -> WebPage:
    """What is said of the page. Raises ListedError where it does not pass."""
    about = {
        "file": output.name,
        "bytes": written.page.stat().st_size,
        "sha256": sha256_file(written.page),
        "graph": written.graph_file.name,
        "graph_checksum": graph_checksum(written.graph_file),
        "precision": written.graph.precision,
        "model_file": None if written.beside is None else written.beside.name,
        "runtime": runtime_version(),
    }
    if prepared is None:
        return WebPage.checked(**about, not_run="no prepared data were named to check it on")
    try:
        return WebPage.checked(**about, **check_in_browser(written, prepared, options, settings))
    except NoBrowserError as error:
        if options.unchecked == "refuse":
            raise UserError(
                f"the page could not be checked: {error}",
                where=output,
                remedy="install what is missing, or allow it: --unchecked keep, or 'unchecked: keep' in 'web'",
            ) from None
        return WebPage.checked(**about, not_run=str(error))


def _keep(written: WrittenPage, output: Path, record: WebPage) -> None:
    if written.beside is not None:
        with atomic_file(written.beside) as temporary:
            shutil.copyfile(written.graph_file, temporary)
    with atomic_file(output) as temporary:
        shutil.copyfile(written.page, temporary)
    write_json(output.with_suffix(".json"), record.content())


def _checked(record: WebPage) -> str:
    parity = record.parity
    if parity is None:
        return f"NOT CHECKED, {record.not_run}"
    return (
        f"checked in {record.browser} on {parity.n_cases} cases: probability within {parity.max_abs_difference:.2g} of "
        f"ONNX Runtime in Python, Dice between the masks {parity.mask_dice:.4f}"
    )
