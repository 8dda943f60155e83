"""What is found out about a model besides its scores: the sections `studies` and `ablation`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sdseg.config.seeds_and_folds import RecipeChoice
from sdseg.config.study_options import STUDY_OPTIONS
from sdseg.core.settings import MANY, Name, Place, Strict, parse, read_yaml

__all__ = ["Ablation", "Studies", "load_studies"]


class Studies(Strict):
    """What is found out about every model besides its scores (`sdseg evaluate --sweep …`): the target `studies`."""

    in_all: bool = False  # true: `all` makes them too
    efficiency: bool = True  # parameters, FLOPs, latency, memory
    sweep: bool = True  # Dice and time by reverse steps and samples
    steps: tuple[Annotated[int, Field(ge=1, le=50)], ...] = Field((1, 2, 5, 10, 20, 50), min_length=1)  # of the sweep
    samples: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field((1, 5), min_length=1)  # of the sweep
    stability: int | None = Field(5, ge=2, le=1000)  # number of runs that differ in their noise; null for no such study
    lpips: Place | None = None  # AlexNet's weights for the stability study, a file or 'fetch'; null for no LPIPS
    robustness: bool = True  # Dice when images get worse
    latents: bool = True  # pictures of latents, before and after training
    limit: int | None = Field(None, ge=1, le=MANY)  # at most this many test cases, evenly spread; null for all

    @property
    def names(self) -> tuple[str, ...]:
        """The studies that are made; each leaves a file of its name."""
        return tuple(name for name in STUDY_OPTIONS if getattr(self, name))


class Ablation(Strict):
    """Recipes that are trained and scored by the target `ablation` alone (Table 6 of the paper)."""

    recipes: dict[Name, RecipeChoice] = Field(min_length=1)
    datasets: tuple[Name, ...] | None = None  # default: every dataset of the configuration


def load_studies(path: Path) -> Studies:
    """Read a file that holds a value of `studies`. Raises UserError that lists every wrong key."""
    return parse(Studies, read_yaml(path), where=str(path))
