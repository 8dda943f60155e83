"""Latents to look at: masks through the codec (the paper's Figure 2), and the condition before and after training
(its Figure 6)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import Tensor

from sdseg.artifacts.results.studies import LatentPicture, Latents, ShownSlice
from sdseg.config.network import LatentNetwork
from sdseg.config.recipe import Recipe
from sdseg.core.array_types import AnyArray, MaskArray, RawImages
from sdseg.core.errors import UserError
from sdseg.core.settings import parse
from sdseg.data.batches import evenly_spread
from sdseg.data.shown_channel import shown_of
from sdseg.data.store import SliceStore, structure_masks
from sdseg.data.transforms import to_display
from sdseg.evaluation.studies.figures import Panel, draw_panels
from sdseg.evaluation.studies.studied_model import Subject
from sdseg.metrics import overlap
from sdseg.models.latent_segmenter import LatentSegmenter
from sdseg.models.model_folder import load_codec_folder, load_model
from sdseg.models.start_from import new_segmenter, open_inputs

__all__ = ["FOLDER", "Origins", "latents"]

FOLDER = "latents"
SHOWN, CHANNELS = 4, 4  # cases, and channels of a latent
MAP = "viridis"


@dataclass(frozen=True)
class Origins:
    """What a model was made from."""

    codec: Path | None = None  # folder made by `sdseg codec`
    start_from: Path | None = None  # model folder that training started from, if any


@dataclass(frozen=True)
class _View:
    """One slice that is shown, with its structure that covers most."""

    case: str
    slice: int
    structure: str
    image: RawImages  # [H,W,C], as the model is fed
    shown: RawImages  # [H,W,C], the slice itself
    mask: MaskArray  # [H,W]
    masks: MaskArray  # [K,H,W], of all structures
    index: int  # of the structure


def latents(subject: Subject, origins: Origins, output: Path) -> Latents:
    """The content of `latents.json`; `output`/latents/masks.png and conditions.png are written beside.

    What a recipe does not have is no error: its entry is null with the reason.
    """
    path = subject.served.path
    if not path.is_dir():
        missing = _missing("an exported graph shows no latents: name the folder")
        return Latents.checked(**subject.header("latents"), masks=missing, conditions=missing)
    segmenter, manifest = load_model(path)
    if not isinstance(segmenter, LatentSegmenter):
        plain = "the recipe has no codec, whose latents could be shown"
        missing = _missing("an ensemble has those of each member: name one of them" if manifest.members else plain)
        return Latents.checked(**subject.header("latents"), masks=missing, conditions=missing)
    views = _views(subject)
    recipe = parse(Recipe, manifest.recipe, where=str(path))
    return Latents.checked(
        **subject.header("latents"),
        masks=_masks(views, segmenter, origins, output),
        conditions=_conditions(subject, views, segmenter, recipe, origins, output),
    )


@torch.inference_mode()
def _masks(views: list[_View], segmenter: LatentSegmenter, origins: Origins, output: Path) -> LatentPicture:
    """Figure 2: mask, channels of its latent, reconstruction, and where the two differ."""
    if origins.codec is None:
        return _missing("no codec was named (--codec): a model folder holds its decoder alone")
    codec, _ = load_codec_folder(origins.codec)
    if codec.settings.latent_channels != segmenter.latent_shape[0]:
        raise UserError(
            f"the codec has {codec.settings.latent_channels} latent channels, the model {segmenter.latent_shape[0]}",
            where=origins.codec,
            remedy="name the codec the model was made with",
        )
    joint = codec.at_once > 1
    encoded = [view.masks if joint else view.mask[None] for view in views]
    mean, _ = codec.moments(torch.from_numpy(np.stack(encoded)))  # [N,c,h,w] of [N,1 or K,H,W]
    parts = zip(codec.decode(mean).numpy(), views, strict=True)
    decoded = [part[view.index if joint else 0] for part, view in parts]  # [H,W] each
    rows, cases = [], []
    for view, latent, probability in zip(views, mean, decoded, strict=True):
        dice = float(overlap.dice(overlap.counts((probability > 0.5)[None, None], view.mask[None, None]))[0])
        cases.append(ShownSlice(case=view.case, slice=view.slice, structure=view.structure, dice=dice))
        difference = (probability > 0.5).astype(np.float32) - view.mask
        rows.append(
            [
                Panel(view.mask, f"mask: {view.structure}", limits=(0, 1)),
                *_channels(latent, "z"),
                Panel(probability, f"decoded, Dice {dice:.4f}", limits=(0, 1)),
                Panel(difference, "difference", scale="coolwarm", limits=(-1, 1)),
            ]
        )
    draw_panels(output / FOLDER / "masks.png", rows, "Masks, their latents and reconstructions")
    return LatentPicture(file=f"{FOLDER}/masks.png", reason=None, cases=tuple(cases))


@torch.inference_mode()
def _conditions(
    subject: Subject, views: list[_View], trained: LatentSegmenter, recipe: Recipe, origins: Origins, output: Path
) -> LatentPicture:
    """Figure 6: the image, channels of its latent before the first step of training, and after the last."""
    if origins.codec is None:
        return _missing("no codec was named (--codec): training begins from it")
    if isinstance(recipe.network, LatentNetwork) and recipe.network.image_codec is not None:
        return _missing("the condition encoder is that of a codec of images: what it gives, is its latent")
    if recipe.start_from is not None and recipe.start_from.model is None and origins.start_from is None:
        return _missing(f"training started from '{recipe.start_from.recipe}': name its folder (--start-from)")
    set_seed(recipe.training.seed)  # then the same objects in the same order as training makes them
    inputs = open_inputs(subject.store.folder, recipe, origins.codec, origins.start_from, torch.device("cpu"))
    before = new_segmenter(recipe, inputs).eval()
    if not isinstance(before, LatentSegmenter):
        return _missing("the recipe has no latents: it is a plain network")
    images = torch.from_numpy(np.stack([view.image for view in views]))  # [N,H,W,C]
    pairs = [(one, one.condition_encoder(one.normaliser(images))[0]) for one in (before, trained)]
    untrained, after = (condition for _, condition in pairs)  # [N,c',h,w] each
    window = subject.store.manifest.image.window
    rows = [
        [
            Panel(to_display(view.shown, window), view.case, limits=(0, 255)),
            Panel(view.mask, "label", limits=(0, 1)),
            *_channels(first, "before"),
            *_channels(last, "after"),
        ]
        for view, first, last in zip(views, untrained, after, strict=True)
    ]
    draw_panels(output / FOLDER / "conditions.png", rows, "Condition latents before and after training")
    change = float((after - untrained).square().mean().sqrt() / untrained.square().mean().sqrt().clamp(min=1e-12))
    return LatentPicture(
        file=f"{FOLDER}/conditions.png",
        reason=None,
        cases=tuple(ShownSlice(case=view.case, slice=view.slice, structure=view.structure) for view in views),
        relative_change=change,
    )


def _views(subject: Subject) -> list[_View]:
    """Of up to four cases the slice and structure that cover most."""
    store, cases, views = subject.store, subject.cases, []
    if store.manifest.image.tiles is not None:  # networks take a tile, not the whole image
        store, names = SliceStore.open(store.folder), {case.case for case in cases}
        cases = tuple(case for case in store.cases if case.case in names)
    for case in evenly_spread(cases, SHOWN):
        masks = structure_masks(store.masks[np.arange(case.start, case.start + case.slices)], store.manifest.structures)
        number, index = np.unravel_index(int(masks.sum(axis=(2, 3)).argmax()), masks.shape[:2])
        name = store.manifest.structures[int(index)].name
        image = np.array(store.images[case.start + int(number)])
        shown = np.array(shown_of(store.slices[case.start + int(number)], store.manifest.image))
        own = masks[number]
        views.append(_View(case.case, int(number), name, image, shown, own[index], own, int(index)))
    return views


def _channels(latent: Tensor, name: str) -> list[Panel]:
    """The first channels of a latent [c,h,w]."""
    channels: list[AnyArray] = list(latent[:CHANNELS].float().numpy())
    return [Panel(channel, f"{name} {number}", scale=MAP) for number, channel in enumerate(channels, start=1)]


def _missing(reason: str) -> LatentPicture:
    return LatentPicture(file=None, reason=reason, cases=())
