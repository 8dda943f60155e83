"""How a trained model answers: passes, and what turns probabilities into a mask."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from sdseg.core.settings import Strict

__all__ = ["PASSES", "Flips", "Inference", "Postprocessing"]

Flips = Literal["none", "horizontal", "both"]
PASSES = {"none": 1, "horizontal": 2, "both": 4}  # of the networks, for one answer


class Postprocessing(Strict):
    """What is mended in the masks of a whole image or volume, structure by structure."""

    largest_component: bool = False  # the largest connected part alone
    fill_holes: bool = False


def _word_or_mapping(value: Any) -> Any:
    if isinstance(value, dict | Postprocessing) or (isinstance(value, str) and value in ("none", "auto")):
        return value
    raise ValueError("'none', 'auto' or a mapping with 'largest_component' and 'fill_holes' is expected")


PostprocessingWish = Annotated[
    Annotated[Literal["none", "auto"], Tag("word")] | Annotated[Postprocessing, Tag("mapping")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "mapping"),
    BeforeValidator(_word_or_mapping),
]


class Inference(Strict):
    """How many passes are made, and what turns probabilities into a mask."""

    steps: int = Field(1, ge=1, le=1000)  # reverse steps; SDSeg's point is that one is enough
    sampler: Literal["ddim", "ddpm"] = "ddim"  # ddim: η = 0, no noise on the way; ddpm: noise added at every step
    # zero mean and unit deviation of the latent at the start and after every step: in each case, or over the batch
    standardise: Literal["none", "case", "batch"] = "none"
    last_noise: bool = False  # noise of deviation √β added to the last latent (a quirk of LDSeg's official code)
    samples: int = Field(1, ge=1, le=10_000)  # hypotheses from different noise, averaged into one probability
    # Test-time flips: the mean over the image and its mirror images, left-right, or also upside down and both at once.
    flips: Flips = "none"
    threshold: float = Field(0.5, gt=0, lt=1)
    # auto: the one of the four combinations with the best mean Dice on the validation split, after training
    postprocessing: PostprocessingWish = "none"
    batch: int = Field(8, ge=1, le=65536)

    @property
    def passes(self) -> int:
        """How often the networks see an image, flipped or not, for one answer."""
        return PASSES[self.flips]
