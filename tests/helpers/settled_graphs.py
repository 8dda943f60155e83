"""What settles a graph before it is made, so that networks with the same graph are exported once."""

from __future__ import annotations

import re
from pathlib import Path

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.config.recipe import Recipe
from sdseg.models.model_folder import load_model
from sdseg.models.segmenter import Segmenter

__all__ = ["settled", "what_settles_the_graph"]

TRAINS_ALONE = r"loss_|train_|distance$|sample_latents$"  # settings of the process that a trained model no longer reads


def what_settles_the_graph(model: Path) -> str:
    """All that the graph of a model depends on but the values of its weights and the scale of its latents."""
    segmenter, manifest = load_model(model)
    trained = Recipe.model_validate(manifest.recipe)
    return settled(segmenter, trained, manifest.image, manifest.structures)


def settled(segmenter: Segmenter, chosen: Recipe, image: ImageContract, structures: tuple[Structure, ...]) -> str:
    heads = {name: module.heads for name, module in segmenter.named_modules() if hasattr(module, "heads")}
    process = chosen.diffusion.model_dump(mode="json") if chosen.diffusion is not None else {}
    predicts = {key: value for key, value in process.items() if not re.match(TRAINS_ALONE, key)}
    shapes = {name: tuple(weights.shape) for name, weights in segmenter.state_dict().items()}
    return f"{segmenter} {shapes} {heads} {predicts} {chosen.inference} {image} {structures}"
