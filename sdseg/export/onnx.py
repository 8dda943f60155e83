"""Model folder to ONNX graphs, which are kept only if they compute what the model computes on real cases."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from sdseg import __version__
from sdseg.artifacts.manifests import GraphManifest, model_checksum
from sdseg.artifacts.results.parity import Check, Parity
from sdseg.backends.inputs import as_input, draw_noise
from sdseg.backends.providers import arithmetic_of, backend_name, cannot_run, open_graph
from sdseg.backends.torch import TorchBackend
from sdseg.config.export import EnginePrecision, Export, Precision
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.core.files import atomic_folder, write_json
from sdseg.core.locks import writes
from sdseg.core.provenance import provenance
from sdseg.data.batches import evenly_spread
from sdseg.data.mask_rule import MaskRule
from sdseg.export.block_sensitivity import sensitive_layers
from sdseg.export.parity import ParityGate, open_gate, refusal
from sdseg.export.precision import in_precision
from sdseg.export.quantise import ActivationRanges, quantise, quantise_weights
from sdseg.export.tracing import export_graph, graph_inputs, graph_outputs
from sdseg.export.with_hypotheses import WithHypotheses, count_hypotheses, no_hypotheses

__all__ = ["export", "graph_name"]

log = logging.getLogger(__name__)

PAGES = ("segment.html", "segment.json")
FORMER = ("engine.json", "benchmark.json")  # of earlier versions
REMEDY = "nothing was kept; try another --opset, or widen the tolerance if this difference is acceptable to you"
INTERPOLATION = "bilinear; an axis of more than twice the working size is first averaged to twice or once that size"
ENOUGH_CASES = 32  # fewer say little; all there are is then what can be done
BATCH = 8  # of calibration
INT8: tuple[Precision, ...] = ("int8", "int8_mixed")
BF16_OPSET = 22  # ONNX has no bf16 convolution before


@writes("output")
def export(model: Path, prepared: Path, output: Path, settings: Export, *, shared_settings: bool = False) -> None:
    """Write `output`/model.onnx, model.<precision>.onnx, io.json and parity.json; all of them, or none.

    Parameters
    ----------
    model: a model folder.
    prepared: the slice store whose test cases model and graphs are run on, and whose training cases calibrate int8.
    output: folder to write; one of an earlier export is replaced.
    settings: operator set, precisions, providers and tolerances.
    shared_settings: they are those of several recipes: one that has none is exported without hypotheses.

    Raises UserError when the network cannot be exported, or not be checked, and ListedError when a graph differs from
    the model by more than its tolerances: then no graph is left, not even an earlier one.
    """
    # 1. The model, and the cases it is checked on.
    gate = open_gate(model, prepared, settings)
    if shared_settings:
        gate = _without_missing_hypotheses(gate)
    precisions = _precisions(gate, settings, shared=shared_settings)
    _refuse_unchecked(precisions, settings)
    if len(gate.cases) < ENOUGH_CASES:
        log.warning("parity is checked on %d cases: %d or more would say more", len(gate.cases), ENOUGH_CASES)
    manifest = _describe(gate, settings.opset)
    with atomic_folder(output, owned=(*_written(), *_made_of_it())) as folder:
        checks: list[_Check] = []
        for precision in dict.fromkeys(precisions):
            # 2. Trace it into one graph: raw image -> probability.
            graph = folder / graph_name(precision)
            opset = max(settings.opset, BF16_OPSET) if precision == "bf16" else settings.opset
            written = _write(gate, manifest.model_copy(update={"precision": precision, "opset": opset}), graph)
            if precision == "fp32":
                manifest = written
            log.info("%s: %.1f MB, operator set %d", graph.name, graph.stat().st_size / 1e6, opset)

            # 3. Run model and graph on the same real images.
            checks += _checks(gate, precision, graph)

        # 4. Keep them, or refuse them.
        closed = next((each for each in checks if each.parity is not None and not each.parity.passed), None)
        if closed is not None and closed.parity is not None:
            _forget(output)
            what = "ONNX graph" if closed.parity.precision == "fp32" else f"{closed.parity.precision} ONNX graph"
            raise refusal(closed.parity, what, output / closed.file, REMEDY)
        write_json(folder / "io.json", manifest)
        records = [each.record().content() for each in checks]
        write_json(folder / "parity.json", Parity.checked(**records[0], checks=records).content())
    for each in checks:
        log.info("%s", each)


def _precisions(gate: ParityGate, settings: Export, *, shared: bool) -> tuple[Precision, ...]:
    """Those to write, fp32 first. int8 is calibrated on slices: of volumes an error, or passed over where the settings
    are those of several recipes.
    """
    precisions: tuple[Precision, ...] = ("fp32", *(each for each in settings.precisions if each != "fp32"))
    quantised = [each for each in precisions if each in INT8]
    if gate.segmenter.sliding_window is None or not quantised:
        return precisions
    if not shared:
        raise UserError(
            f"the model is three-dimensional, and {quantised[0]} is made of networks on slices alone",
            where="export.precisions",
            remedy=f"leave {quantised[0]} out; fp16 halves the graph as well",
        )
    log.info("'%s' is exported without the int8 of the settings: it is three-dimensional", gate.manifest.recipe_name)
    return tuple(each for each in precisions if each not in INT8)


def graph_name(precision: Precision) -> str:
    """The file of a precision within an export."""
    return "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"


@dataclass(frozen=True)
class _Check:
    """One precision on one backend; without a parity it could not be run, for a reason."""

    file: str
    precision: Precision
    backend: str
    parity: Parity | None
    reason: str | None = None

    def record(self) -> Check:
        if self.parity is not None:
            few = self.parity.n_cases < ENOUGH_CASES
            return Check.checked(file=self.file, **self.parity.content(), few_cases=few)
        return Check(file=self.file, precision=self.precision, backend=self.backend, not_run=self.reason)

    def __str__(self) -> str:
        if self.parity is None:
            return f"{self.file} on {self.backend}: NOT CHECKED, {self.reason}"
        parity = self.parity
        return (
            f"{self.file} on {self.backend}, {self.precision}: parity on {parity.n_cases} cases: probability within "
            f"{parity.max_abs_difference:.2g}, Dice {parity.dice_exported:.4f} against {parity.dice_reference:.4f}, "
            f"between the masks {parity.mask_dice:.4f}"
        )


def _write(gate: ParityGate, manifest: GraphManifest, graph: Path) -> GraphManifest:
    source = graph.with_name(graph_name("fp32"))
    if manifest.precision == "int8":
        return quantise(source, graph, _feeds(gate), manifest)
    if manifest.precision == "int8_mixed":
        return quantise(source, graph, _feeds(gate), manifest, lambda ranges: _sensitive(gate, source, ranges))
    if manifest.precision == "int8_weights":
        return quantise_weights(source, graph, manifest)
    network = in_precision(gate.segmenter, _precision(manifest))
    return export_graph(WithHypotheses(network) if gate.settings.hypotheses else network, manifest, graph)


def _checks(gate: ParityGate, precision: Precision, graph: Path) -> list[_Check]:
    """The graph on every provider; half precision also in PyTorch, where every step is rounded and may overflow.

    ONNX Runtime computes the fp16 graph in fp32 on a CPU: what overflows on a GPU would not be seen.
    """
    checks = []
    for provider in gate.settings.providers:
        reason = cannot_run(provider, precision)
        if reason is not None:
            checks.append(_Check(graph.name, precision, backend_name(provider), None, reason))
            continue
        backend = open_graph(graph, provider)
        parity = gate.judge(backend, precision, tolerated=arithmetic_of(provider, precision))
        checks.append(_Check(graph.name, precision, backend.name, parity))
    if precision in ("fp16", "bf16"):
        segmenter = gate.segmenter
        lowered = in_precision(segmenter, precision)
        arithmetic = TorchBackend(
            lowered, gate.manifest.image, "cpu", segmenter.noise_shape, window=segmenter.sliding_window
        )
        checks.append(_Check(graph.name, precision, arithmetic.name, gate.judge(arithmetic, precision)))
    return checks


def _refuse_unchecked(precisions: tuple[Precision, ...], settings: Export) -> None:
    """Before anything is computed: a graph that nothing here runs is an error, unless the configuration allows it."""
    for precision in precisions:
        reasons = [cannot_run(provider, precision) for provider in settings.providers]
        if settings.unchecked == "refuse" and all(reasons):
            raise UserError(
                f"the {precision} graph could not be checked: {reasons[0]}",
                where="export.precisions",
                remedy=f"add a provider that runs it, leave {precision} out, or allow it: unchecked: keep",
            )


def _sensitive(gate: ParityGate, source: Path, ranges: ActivationRanges) -> tuple[str, ...]:
    """The layers that int8_mixed leaves in fp32, found on validation images, or on training images where none are."""
    split = "val" if len(gate.store.rows_of("val")) else "train"
    least = gate.settings.tolerances.int8_mixed.min_mask_dice
    return sensitive_layers(source, ranges, _feeds(gate, split), MaskRule.of(gate.manifest).masks, least)


def _feeds(gate: ParityGate, split: str = "train") -> list[dict[str, AnyArray]]:
    """Inputs of the graph for calibration: images of a split, evenly spread."""
    rows = list(evenly_spread(gate.store.rows_of(split).tolist(), gate.settings.calibration_images))
    if not rows:
        raise UserError(
            "the prepared data have no training images, which int8 is calibrated on",
            where=gate.store.folder,
            remedy="leave int8 out of the precisions, or name prepared data with a training split",
        )
    feeds = []
    for start in range(0, len(rows), BATCH):
        images = gate.store.images[rows[start : start + BATCH]]
        feed: dict[str, AnyArray] = {"image": as_input(images, gate.manifest.image)}
        if gate.segmenter.noise_shape is not None:
            feed["noise"] = draw_noise(len(images), gate.segmenter.noise_shape, seed=0)
        feeds.append(feed)
    return feeds


def _describe(gate: ParityGate, opset: int) -> GraphManifest:
    manifest = gate.manifest
    made_by = provenance(("torch", "onnx", "onnxscript", "onnxruntime", "openvino"), stage="export.onnx")
    checksum = model_checksum(manifest)
    window = gate.segmenter.sliding_window
    patch = window.size if window is not None else None
    return GraphManifest(
        version=__version__,
        dataset=manifest.dataset,
        origin=manifest.origin,
        recipe=manifest.recipe_name,
        inputs=graph_inputs(manifest.image, gate.segmenter.noise_shape, patch),
        outputs=graph_outputs(manifest.image, len(manifest.structures), _hypotheses(gate), patch),
        image=manifest.image,
        structures=manifest.structures,
        threshold=manifest.threshold,
        exclusive=manifest.exclusive,
        postprocessing=manifest.postprocessing,
        flips=manifest.recipe.get("inference", {}).get("flips", "none"),
        dimensions=2 if window is None else 3,
        sliding_window=window,
        opset=opset,
        protocol=manifest.protocol,
        labels=gate.store.manifest.labels,
        interpolation=INTERPOLATION,
        data_checksum=manifest.training.get("data_checksum"),
        model_checksum=checksum,
        provenance={**made_by, "protocol": manifest.protocol, "model_checksum": checksum},
    )


def _without_missing_hypotheses(gate: ParityGate) -> ParityGate:
    """The same gate, which asks for no hypotheses where the model has none."""
    reason = no_hypotheses(gate.segmenter) if gate.settings.hypotheses else None
    if reason is None:
        return gate
    log.info("'%s' is exported without the hypotheses of the settings: %s", gate.manifest.recipe_name, reason)
    return replace(gate, settings=gate.settings.model_copy(update={"hypotheses": False}))


def _hypotheses(gate: ParityGate) -> int | None:
    """How many hypotheses the graph gives; None where they are not asked for."""
    return count_hypotheses(gate.segmenter) if gate.settings.hypotheses else None


def _precision(manifest: GraphManifest) -> Precision:
    for name in ("fp32", "fp16", "bf16", *INT8, "int8_weights"):
        if name == manifest.precision:
            return name
    raise UserError(
        f"unknown precision '{manifest.precision}'", remedy="use fp32, fp16, bf16, int8, int8_mixed or int8_weights"
    )


def _written() -> list[str]:
    """Every name an export has: exactly, since what else lies there may be somebody's own."""
    graphs = [graph_name(precision) for precision in get_args(Precision)]
    return [*graphs, *(f"{graph}.data" for graph in graphs), "io.json", "parity.json"]


def _made_of_it() -> list[str]:
    """Every name that other commands, or those of earlier versions, have in an export: it goes with its graph."""
    engines = [f"model.{precision}.engine" for precision in get_args(EnginePrecision)]
    return [*engines, *(f"{engine}.json" for engine in engines), *PAGES, *FORMER]


def _forget(output: Path) -> None:
    """Remove an earlier export: it belongs to another state of the model."""
    for name in _written():
        (output / name).unlink(missing_ok=True)
