"""What the page must know of its graph, as plain values (web/src/contract.ts); models it cannot run are refused."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from sdseg.artifacts.image_contract import ImageContract, Intensities
from sdseg.artifacts.manifests import GraphManifest
from sdseg.backends.graph_file import weights_beside
from sdseg.backends.inputs import draw_noise
from sdseg.core.errors import UserError
from sdseg.io.structure_colours import structure_colour

__all__ = ["check_runs_in_browser", "page_contract"]

MOST_STRUCTURES = 31  # bits of a whole number in JavaScript, without its sign
# Fields of an image contract that the page heeds, or that concern training alone. One that it does not know, and that
# is not at its default, would be silently left out.
HEEDED = {
    *("modality", "size", "channels", "neighbours", "window", "normalisation", "stretch", "dtype", "intensities"),
    *("normalisations", "channel_intensities"),
    *("train_clip", "spacing", "slicing", "resampling", "tiles", "channel_names", "shown_channel"),
}
REMEDY = (
    "use 'sdseg predict', which takes every model; the page takes those of images and of slices (in a workflow "
    "say 'pages: false' in 'web')"
)


def check_runs_in_browser(graph: GraphManifest, path: Path) -> None:
    """Raise UserError for a graph that the page cannot run, before anything is written."""
    image = graph.image
    odd = sorted(_unknown(image))
    usual = len(image.channel_names) or (3 if image.modality == "rgb" else 1)
    reason = None
    if graph.dimensions != 2 or graph.sliding_window is not None:
        reason = "a model that sees patches, put together by a sliding window, which the page does not do"
    elif image.channels != usual:
        reason = f"a model of {image.channels} channels, where the page reads {usual}"
    elif odd:
        reason = f"a model of images with {', '.join(odd)}, which the page does not know"
    elif len(graph.structures) > MOST_STRUCTURES:
        reason = f"a model of {len(graph.structures)} structures, where the page takes {MOST_STRUCTURES}"
    elif weights_beside(path).is_file():
        reason = "a graph whose weights lie in a file of their own: more than a browser can hold"
    if reason is not None:
        raise UserError(reason, where=path, remedy=REMEDY)


def page_contract(graph: GraphManifest) -> dict[str, Any]:
    """Of a graph that runs in a browser; without what the file adds: its model and its sample."""
    image = graph.image
    height, width = image.sides
    count = next((port.axes[1] for port in graph.outputs if port.name == "hypotheses"), 0)
    return {
        "version": graph.version or "",
        "dataset": graph.dataset,
        "recipe": graph.recipe,
        "origin": graph.origin,
        "precision": graph.precision,
        "modality": image.modality,
        "channels": image.channels,
        "channelNames": list(image.channel_names),
        "shownChannel": image.shown_channel,
        "width": width,
        "height": height,
        "slicing": image.slicing,
        "tiles": None if image.tiles is None else image.tiles.model_dump(mode="json"),
        "resampling": None if image.resampling is None else image.resampling.model_dump(mode="json"),
        "neighbours": image.neighbours,
        "window": list(image.window),
        "dtype": image.dtype,
        "stretch": image.stretch,
        "normalisation": None if image.normalisation is None else image.normalisation.model_dump(mode="json"),
        "normalisations": [each.model_dump(mode="json") for each in image.normalisations],
        "intensities": None if image.intensities is None else _spread(image.intensities),
        "channelIntensities": [_spread(each) for each in image.channel_intensities],
        "structures": [
            {"name": one.name, "colour": structure_colour(number), "parts": len(set(one.values))}
            for number, one in enumerate(graph.structures)
        ],
        "threshold": graph.threshold,
        "exclusive": graph.exclusive,
        "largestComponent": graph.postprocessing.largest_component,
        "fillHoles": graph.postprocessing.fill_holes,
        "noise": _noise(graph),
        "hypotheses": count,
    }


def _spread(lay: Intensities) -> dict[str, Any]:
    """What an input is held against."""
    return lay.model_dump(mode="json", include={"p1", "p99", "width"})


def _noise(graph: GraphManifest) -> dict[str, Any] | None:
    """The noise that every runtime is given, of one image: JavaScript has no generator of ours."""
    port = next((port for port in graph.inputs if port.name == "noise"), None)
    if port is None:
        return None
    shape = tuple(int(axis) for axis in port.axes[1:])
    values = draw_noise(1, shape, seed=0)
    return {"shape": list(shape), "values": base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")}


def _unknown(image: ImageContract) -> set[str]:
    fields = ImageContract.model_fields
    return {
        name
        for name in set(fields) - HEEDED
        if getattr(image, name) != fields[name].get_default(call_default_factory=True)
    }
