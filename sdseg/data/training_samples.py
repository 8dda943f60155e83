"""Training samples from a slice store: which rows, which orientation, which noise, all from (seed, position) alone.

Nothing here keeps a state: the sample at position p of a run is the same whether the run was interrupted, how many
processes share it, and which device it computes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from sdseg.config.recipe import Recipe
from sdseg.core.array_types import AnyArray
from sdseg.data.moving_tiles import STILL, MovingTiles, Shift, draw_shift
from sdseg.data.quick_augmentation import QuickAugmentation
from sdseg.data.store import SliceStore, structure_masks

__all__ = [
    "ORIENTATIONS",
    "Augment",
    "Positions",
    "TrainingSamples",
    "build_samples",
    "epoch_order",
    "orient",
    "orientations_of",
]

# Image [H,W,C], masks [K,H,W] and a seed -> both, deformed alike.
Augment = Callable[[AnyArray, npt.NDArray[np.bool_], int], tuple[AnyArray, npt.NDArray[np.bool_]]]
# Orientations an augmentation draws from, as numbers for `orient`: bit 0 mirrors columns, 1 rows, 2 transposes.
EIGHT = (0, 1, 2, 3, 4, 5, 6, 7)
ORIENTATIONS = {
    "none": (0,),
    "flips": (0, 1, 2, 3),
    "dihedral": EIGHT,
    "intensity": EIGHT,
    "affine": EIGHT,
    "strong": (0,),
}


def orientations_of(augmentation: str, sides: tuple[int, int]) -> tuple[int, ...]:
    """Those an augmentation draws from; of images that are not square, turned by no quarter of a circle."""
    chosen = ORIENTATIONS[augmentation]
    return chosen if sides[0] == sides[1] else tuple(number for number in chosen if not number & 4)


def orient(array: AnyArray, orientation: int, axes: tuple[int, int]) -> AnyArray:
    """`array` mirrored and transposed along its (row, column) axes. A view; square arrays keep their shape."""
    rows, columns = axes
    if orientation & 4:
        array = np.swapaxes(array, rows, columns)
    if orientation & 2:
        array = np.flip(array, rows)
    if orientation & 1:
        array = np.flip(array, columns)
    return array


@dataclass(frozen=True)
class SampleDraw:
    """The random choices of one sample."""

    row: int
    orientation: int
    structure: int  # of all
    choice: float  # in [0,1), for one of those in the slice
    uniform: float
    noise: npt.NDArray[np.float32]
    posterior: npt.NDArray[np.float32]
    seed: int  # of the deformation
    annotator: int = 0  # of those in the store's manifest
    shift: Shift = STILL  # of the tile of a large image


class TrainingSamples(Dataset[dict[str, Tensor]]):
    """Sample at a position of the run.

    With `latent_shape` (c,h,w) each sample carries the noise and the timestep of the latent method; with `latents` too
    (scaled, [n·A,T,V,M,c,h,w]; n rows of the split, of each the masks of A annotators, V orientations, M = 1 for the
    mode or 2 for mean and deviation) the latent of its mask, otherwise the draw that samples it. `augment` (image,
    masks, seed) deforms both alike. `present` draws the structure among those that the sample shows (any, where it
    shows none). T is the number of structures; with `joint` it is 1: a latent holds all of them, and none is drawn. Of
    several annotators one who drew the sample's case is drawn. A tile of a large image is moved at random within it.
    """

    def __init__(
        self,
        store: SliceStore,
        rows: npt.NDArray[np.int64],
        *,
        seed: int,
        augmentation: str,
        latent_shape: tuple[int, ...] | None,
        latents: npt.NDArray[np.float32] | None,
        augment: Augment | None = None,
        present: bool = False,
        joint: bool = False,
    ) -> None:
        self.store, self.rows, self.seed, self.augment = store, rows, seed, augment
        self.present, self.joint = present, joint
        self.orientations = orientations_of(augmentation, store.manifest.image.sides)
        self.latent_shape, self.latents = latent_shape, latents
        self.annotators = store.manifest.annotators or ("",)
        self.drew = store.annotators_of(rows)
        self.tiles = MovingTiles(store) if store.manifest.image.tiles is not None else None

    def __len__(self) -> int:
        return len(self.rows)

    def rows_at(self, position: int) -> tuple[int, int]:
        """First and last row of the store that the sample at a position is made of: here the same."""
        row = int(self.rows[self.draw(position).row])
        return row, row

    def draw(self, position: int) -> SampleDraw:
        """The choices at a position: every row once per epoch, in an order of that epoch's own."""
        epoch, place = divmod(position, len(self.rows))
        rng = np.random.default_rng([self.seed, 1, position])
        shape = self.latent_shape or (0, 0, 0)
        row = int(epoch_order(self.seed, epoch, len(self.rows))[place])
        return SampleDraw(
            row=row,
            orientation=int(rng.integers(len(self.orientations))),
            structure=int(rng.integers(len(self.store.manifest.structures))),
            uniform=float(rng.random(dtype=np.float32)),
            noise=rng.standard_normal(shape, dtype=np.float32),
            posterior=rng.standard_normal(shape, dtype=np.float32),
            seed=int(rng.integers(2**31)),
            choice=float(rng.random()),
            annotator=self.drew[row][int(rng.integers(len(self.drew[row])))],  # last: the other draws stay the same
            shift=draw_shift(rng) if self.tiles is not None else STILL,
        )

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        drawn = self.draw(position)
        row = self.rows[drawn.row]
        orientation = self.orientations[drawn.orientation]
        raw, labels = self._slice(int(row), drawn)
        masks = structure_masks(labels[None], self.store.manifest.structures)[0]  # [K,H,W]
        image, masks = orient(raw, orientation, (0, 1)), orient(masks, orientation, (1, 2))
        if self.augment is not None:
            image, masks = self.augment(image, masks, drawn.seed)
        structure = self._structure(drawn, masks)
        sample = {
            "image": _tensor(image.astype(np.int32) if image.dtype == np.uint16 else image),  # [H,W,C]
            "mask": _tensor(masks.astype(np.uint8)),  # [K,H,W]
            "structure": torch.tensor(structure),
        }
        if self.latent_shape is not None:
            sample |= {
                "noise": torch.from_numpy(drawn.noise),
                "uniform": torch.tensor(drawn.uniform, dtype=torch.float32),
                "posterior": torch.from_numpy(drawn.posterior),
            }
        if self.latents is not None:
            place = drawn.row * len(self.annotators) + drawn.annotator
            moments = self.latents[place, structure, drawn.orientation]  # [M,c,h,w]
            sample["latent"] = _tensor(moments[0] if len(moments) == 1 else moments[0] + moments[1] * drawn.posterior)
        return sample

    def _slice(self, row: int, drawn: SampleDraw) -> tuple[AnyArray, AnyArray]:
        """Image [H,W,C] and label ids [H,W] of a row, or of where its tile is moved to."""
        annotator = self.annotators[drawn.annotator]
        if self.tiles is None:
            return self.store.images[row], self.store.drawn_by(annotator, [row])[0]
        return self.tiles.image(row, drawn.shift), self.tiles.labels(annotator, row, drawn.shift)

    def _structure(self, drawn: SampleDraw, masks: npt.NDArray[np.bool_]) -> int:
        if self.joint:
            return 0
        shown = np.flatnonzero(masks.any(axis=(1, 2))) if self.present else np.empty(0, np.int64)
        return int(shown[int(drawn.choice * len(shown))]) if len(shown) else drawn.structure


class Positions(Sampler[list[int]]):
    """Batches of positions for the steps `start` … `stop`−1: this process's share, in `parts` equal pieces per step."""

    def __init__(self, *, start: int, stop: int, batch: int, parts: int = 1, rank: int = 0, processes: int = 1) -> None:
        self.start, self.stop, self.batch = start, stop, batch
        self.parts, self.rank, self.processes = parts, rank, processes

    def __len__(self) -> int:
        return (self.stop - self.start) * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        piece = self.batch // (self.parts * self.processes)
        for step in range(self.start, self.stop):
            for part in range(self.parts):
                first = step * self.batch + (part * self.processes + self.rank) * piece
                yield list(range(first, first + piece))


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """In which order an epoch sees `count` things."""
    return np.random.default_rng([seed, 0, epoch]).permutation(count)


def _tensor(array: AnyArray) -> Tensor:
    """A tensor with memory of its own (memory maps are read-only, flips have negative strides)."""
    return torch.from_numpy(np.array(array, order="C"))


def build_samples(
    store: SliceStore,
    rows: npt.NDArray[np.int64],
    recipe: Recipe,
    shape: tuple[int, ...] | None,
    latents: npt.NDArray[np.float32] | None,
) -> TrainingSamples:
    """The samples of some rows as the recipe augments and draws them; `shape` and `latents` as of TrainingSamples."""
    training = recipe.training
    return TrainingSamples(
        store,
        rows,
        seed=training.seed,
        augmentation=training.augmentation,
        latent_shape=shape,
        latents=latents,
        augment=_augment(store, training.augmentation),
        present=training.structures == "present",
        joint=recipe.joint,
    )


def _augment(store: SliceStore, augmentation: str) -> Augment | None:
    """What changes a sample beyond its orientation; None where nothing does."""
    if augmentation == "strong":
        from sdseg.data.augmentation import StrongAugmentation  # MONAI's transforms take seconds to import

        return StrongAugmentation(store.manifest.image)
    if augmentation in ("intensity", "affine"):
        return QuickAugmentation(store.manifest.image, affine=augmentation == "affine")
    return None
