"""An exported graph, or an engine of one: what it says about itself held against what it is, feed, and answer."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdseg.artifacts.manifests import GraphManifest, GraphPort
from sdseg.backends.inputs import as_input, draw_noise
from sdseg.backends.sliding_window import over_patches
from sdseg.config.patches import SlidingWindow
from sdseg.core.array_types import AnyArray, FloatArray, RawImages
from sdseg.core.errors import UserError
from sdseg.core.files import parse_json

__all__ = [
    "FOREIGN",
    "FoundPort",
    "GraphHypotheses",
    "check_answer",
    "check_ports",
    "chosen_by",
    "default_threads",
    "feed_of",
    "missing_graph",
    "output_shape",
    "parse_manifest",
    "run_failed",
    "unusable",
]

FOREIGN = "give a graph made by 'sdseg export'"


@dataclass(frozen=True)
class FoundPort:
    """An input or output as a runtime finds it in a graph."""

    name: str
    dtype: str  # as numpy calls it, or whatever the runtime calls a type that none of ours has
    axes: tuple[int | None, ...]  # None: any length

    def __str__(self) -> str:
        return f"[{', '.join('any' if axis is None else str(axis) for axis in self.axes)}] of {self.dtype}"


class GraphHypotheses(ABC):
    """The hypotheses of a graph that has them as an output, or that starts from no noise: then its probability."""

    manifest: GraphManifest
    path: Path

    mean_alone = "the graph gives the mean of its hypotheses alone"

    @property
    def samples(self) -> int:
        port = self._hypotheses_port
        if port is None:  # one that starts from no noise has a single one, others have a mean
            return int(all(each.name != "noise" for each in self.manifest.inputs))
        count = port.axes[1]
        return count if isinstance(count, int) else 0

    @property
    def _hypotheses_port(self) -> GraphPort | None:
        return next((port for port in self.manifest.outputs if port.name == "hypotheses"), None)

    def probability(self, images: RawImages) -> FloatArray:
        """Raw images [N,H,W,C] -> probability [N,K,H,W]; see Backend."""
        (probability,) = self.compute(("probability",), images)
        return check_answer(probability, self.manifest, len(images), self.path)

    def hypotheses(self, images: RawImages) -> FloatArray:
        """Raw images [N,H,W,C] -> [N,S,K,H,W]. Raises UserError where the graph gives another shape than it says."""
        port = self._hypotheses_port
        return self.probability(images)[:, None] if port is None else self._checked((port,), images)[port.name]

    def beside_probability(self, images: RawImages) -> dict[str, FloatArray]:
        """What the graph gives beside the probability, by name, in one pass: hypotheses, and what says how they agree.

        Of a volume each is blended: the variance is that within patches, not that of blended hypotheses. Raises
        UserError where one has another shape than the graph says.
        """
        return self._checked([port for port in self.manifest.outputs if port.name != "probability"], images)

    def _checked(self, ports: Sequence[GraphPort], images: RawImages) -> dict[str, FloatArray]:
        names = [port.name for port in ports]
        answers = dict(zip(names, self.compute(names, images), strict=True))
        sides, spatial = self.manifest.image.sides, 2 if self.sliding_window is None else 3
        for port in ports:
            shape, expected = answers[port.name].shape, (len(images), *port.axes[1:-spatial], *sides)
            if shape != expected:
                what = f"the graph gave {port.name} of shape {shape} instead of {expected}"
                raise UserError(what, where=self.path, remedy=FOREIGN)
        return answers

    @property
    def sliding_window(self) -> SlidingWindow | None:
        return self.manifest.sliding_window

    def compute(self, outputs: Sequence[str], images: RawImages) -> list[FloatArray]:
        """Some outputs of the graph, float32 each: of images [N,H,W,C], or of the volume whose slices they are."""
        fed, window = as_input(images, self.manifest.image), self.sliding_window
        if window is None:
            return self.run_graph(outputs, fed)

        leading: list[tuple[int, ...]] = []  # axes of each output between the batch and the patch

        def of_patches(patches: FloatArray) -> FloatArray:
            answers = self.run_graph(outputs, patches)
            leading[:] = [answer.shape[1:-3] for answer in answers]
            return np.concatenate([answer.reshape(len(answer), -1, *answer.shape[-3:]) for answer in answers], axis=1)

        joined = over_patches(of_patches, fed, window, self.manifest.image.window[0])  # [Z,…,H,W]
        parts = np.split(joined, np.cumsum([math.prod(axes) for axes in leading])[:-1], axis=1)
        sides = joined.shape[2:]
        return [part.reshape(len(part), *axes, *sides) for part, axes in zip(parts, leading, strict=True)]

    @abstractmethod
    def run_graph(self, outputs: Sequence[str], fed: AnyArray) -> list[FloatArray]:
        """Some outputs of the graph for its input `image`, float32 each."""


def parse_manifest(text: str | None, path: Path) -> GraphManifest:
    """What a graph says about itself, from its metadata value `sdseg`. Raises UserError where it says nothing."""
    if text is None:
        raise UserError(
            "a foreign ONNX file: it does not say which images it wants and what it finds", where=path, remedy=FOREIGN
        )
    manifest = parse_json(text, GraphManifest, where=path)
    if manifest.kind != "sdseg-graph":
        raise UserError(f"this is a '{manifest.kind}', not a segmenter's graph", where=path, remedy=FOREIGN)
    return manifest


def check_ports(manifest: GraphManifest, inputs: Sequence[FoundPort], outputs: Sequence[FoundPort], path: Path) -> None:
    """Raise UserError unless the graph has the inputs and outputs it declares: names, number types, axes."""
    _check_ports(inputs, manifest.inputs, "input", path)
    _check_ports(outputs, manifest.outputs, "output", path)


def feed_of(manifest: GraphManifest, fed: AnyArray, seed: int) -> dict[str, AnyArray]:
    """Inputs of the graph by name: its images, or patches, and noise [N,c,h,w] where it has such an input."""
    feed = {"image": fed}
    noise = next((port.axes[1:] for port in manifest.inputs if port.name == "noise"), None)
    if noise is not None:
        feed["noise"] = draw_noise(len(fed), tuple(int(axis) for axis in noise), seed)
    return feed


def output_shape(manifest: GraphManifest, name: str, count: int) -> tuple[int, ...]:
    """Of one output of the graph, for `count` images or patches."""
    axes = next(port.axes for port in manifest.outputs if port.name == name)
    return count, *(int(axis) for axis in axes[1:])


def check_answer(probability: FloatArray, manifest: GraphManifest, count: int, path: Path) -> FloatArray:
    """The probability of `count` images. Raises UserError where it has another shape than the graph declares."""
    expected = (count, len(manifest.structures), *manifest.image.sides)
    if probability.shape != expected:
        what = f"the graph gave a probability of shape {probability.shape} instead of {expected}"
        raise UserError(what, where=path, remedy=FOREIGN)
    return probability


def default_threads() -> int:
    """OMP_NUM_THREADS as PyTorch heeds it; 0 lets a runtime take one thread per core."""
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(text) if text.isdigit() else 0


def missing_graph(path: Path) -> UserError:
    return UserError("the ONNX file is missing", where=path, remedy="check the path, or run 'sdseg export'")


def unusable(reason: str, path: Path) -> UserError:
    """The error for a file that a runtime cannot open."""
    return UserError(
        f"not an ONNX graph that can be run: {reason}",
        where=path,
        remedy="it is truncated, foreign, or lacks its '.data' file: copy it again, or run 'sdseg export'",
    )


def chosen_by(provider: str) -> str:
    """Where a user says who computes a graph, in words: whoever opens one does not know for which command."""
    return f"the provider '{provider}': --device, or of an export --providers ('export.providers')"


def run_failed(runtime: str, count: int, reason: str, path: Path) -> UserError:
    """The error for a graph that was opened, and failed on `count` images."""
    return UserError(
        f"{runtime} failed on {count} images: {reason}",
        where=path,
        remedy="use a smaller --batch; if that does not help, export the model again",
    )


def _check_ports(ports: Sequence[FoundPort], declared: tuple[GraphPort, ...], kind: str, path: Path) -> None:
    extra = sorted({port.name for port in ports} - {declaration.name for declaration in declared})
    if extra:
        raise UserError(f"the graph has an {kind} '{extra[0]}' that it does not declare", where=path, remedy=FOREIGN)
    for declaration in declared:
        port = next((port for port in ports if port.name == declaration.name), None)
        if port is None:
            names = ", ".join(port.name for port in ports)
            raise UserError(
                f"the graph has no {kind} '{declaration.name}' (it has: {names})", where=path, remedy=FOREIGN
            )
        # A dynamic axis has a name, whatever it is; a fixed one has its length.
        axes = tuple(axis if isinstance(axis, int) else None for axis in declaration.axes)
        expected = FoundPort(declaration.name, declaration.dtype, axes)
        if port != expected:
            raise UserError(f"{kind} '{port.name}' is {port}; expected {expected}", where=path, remedy=FOREIGN)
