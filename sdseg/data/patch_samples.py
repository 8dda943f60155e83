"""Training samples of three-dimensional recipes: patches of a store's volumes, all from (seed, position) alone.

As of slices (training_samples.py): the sample at a position is the same whether the run was interrupted, how many
processes share it, and which device it computes on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sdseg.config.direct_network import DynUnet
from sdseg.config.patch_checks import patch_too_large
from sdseg.config.patches import Extent, Patches
from sdseg.config.recipe import Recipe
from sdseg.core.array_types import AnyArray, FloatArray, MaskArray
from sdseg.core.settings import merge, parse
from sdseg.data.fit import fit_of
from sdseg.data.slicing import along_slices
from sdseg.data.store import Case, SliceStore, structure_masks
from sdseg.data.training_samples import Augment, epoch_order
from sdseg.data.transforms import within_type

__all__ = ["PatchSamples", "check_depth", "median_spacing", "with_spacing"]

log = logging.getLogger(__name__)
Voxels = npt.NDArray[np.int64]  # numbers of a volume's voxels, counted along columns, rows, slices
KEPT = 10_000  # voxels of each structure, and of the background, that patches of a volume may be centred on


@dataclass(frozen=True)
class PatchDraw:
    """The random choices of one sample."""

    case: int  # of the training cases
    corner: Extent  # first voxel of the patch, within the volume
    flips: tuple[bool, bool, bool]  # along depth, rows and columns
    annotator: int  # of those in the store's manifest
    structure: int
    uniform: float
    noise: npt.NDArray[np.float32]
    seed: int  # of the deformation


class PatchSamples(Dataset[dict[str, Tensor]]):
    """Patch at a position of the run: every training volume once per epoch, in an order of that epoch's own.

    A share `patches.foreground` has a voxel of a structure in its middle: of those that the volume has each is as
    likely, whatever its size. The others have one of the background (MONAI's `RandCropByPosNegLabel`). Patches lie
    within the volume; along an axis where that is smaller they hold all of it, and the window's lowest value around it,
    as inference does. With `latent_shape` each sample carries the noise and the timestep of a latent method.
    """

    def __init__(self, store: SliceStore, recipe: Recipe, latent_shape: tuple[int, ...] | None = None) -> None:
        if recipe.patches is None:
            raise ValueError("a recipe without patches")
        self.store, self.patches = store, recipe.patches
        self.cases = store.cases_of("train")
        self.seed, self.flips = recipe.training.seed, recipe.training.augmentation == "flips"
        self.augment: Augment | None = None
        if recipe.training.augmentation == "strong":
            from sdseg.data.augmentation import StrongAugmentation  # MONAI's transforms take seconds to import

            self.augment = StrongAugmentation(store.manifest.image, recipe.patches.size)
        self.latent_shape = latent_shape
        self.annotators = store.manifest.annotators or ("",)
        self._centres: dict[int, tuple[list[Voxels], Voxels]] = {}

    def __len__(self) -> int:
        return len(self.cases)

    def rows_at(self, position: int) -> tuple[int, int]:
        """First and last row of the store that the sample at a position is made of."""
        rows = self._rows(self.draw(position))
        return rows.start, rows.stop - 1

    def draw(self, position: int) -> PatchDraw:
        """The choices at a position."""
        from monai.transforms.utils import generate_pos_neg_label_crop_centers  # MONAI takes seconds to import

        epoch, place = divmod(position, len(self.cases))
        rng = np.random.default_rng([self.seed, 1, position])
        number = int(epoch_order(self.seed, epoch, len(self.cases))[place])
        case, shape = self.cases[number], self._shape(self.cases[number])
        structures, outside = self._centres_of(number)
        inside = structures[int(rng.integers(len(structures)))] if structures else outside
        (centre,) = generate_pos_neg_label_crop_centers(
            self.patches.size,
            num_samples=1,
            pos_ratio=self.patches.foreground,
            label_spatial_shape=shape,
            fg_indices=inside,
            bg_indices=outside if len(outside) else inside,
            rand_state=np.random.RandomState(int(rng.integers(2**32))),
            allow_smaller=True,
        )
        drew = [self.annotators.index(name) for name, _ in case.labels]
        depth, rows, columns = (
            max(0, min(int(middle) - side // 2, whole - side))
            for middle, side, whole in zip(centre, self.patches.size, shape, strict=True)
        )
        flips = rng.random(3) < 0.5 if self.flips else np.zeros(3, dtype=np.bool_)
        return PatchDraw(
            case=number,
            corner=(depth, rows, columns),
            flips=(bool(flips[0]), bool(flips[1]), bool(flips[2])),
            annotator=drew[int(rng.integers(len(drew)))],
            structure=int(rng.integers(len(self.store.manifest.structures))),
            uniform=float(rng.random(dtype=np.float32)),
            noise=rng.standard_normal(self.latent_shape or (0,), dtype=np.float32),
            seed=int(rng.integers(2**31)),
        )

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        drawn = self.draw(position)
        slices = self._rows(drawn)
        rows, columns = (
            slice(start, start + side) for start, side in zip(drawn.corner[1:], self.patches.size[1:], strict=True)
        )
        labels = self.store.drawn_by(self.annotators[drawn.annotator], slices)[:, rows, columns]
        masks = structure_masks(labels, self.store.manifest.structures).swapaxes(0, 1)  # [K,D,H,W]
        image = self.store.images[slices, rows, columns].astype(np.float32)  # [D,H,W,C]
        image = self._whole(image, (0, 1, 2), self.store.manifest.image.window[0])
        masks = self._whole(masks, (1, 2, 3), False)
        turned = tuple(axis for axis, flip in enumerate(drawn.flips) if flip)
        if self.augment is not None:
            image, masks = self.augment(image, masks, drawn.seed)
        image, masks = np.flip(image, turned), np.flip(masks, tuple(axis + 1 for axis in turned))
        sample = {
            "image": torch.from_numpy(np.ascontiguousarray(image)),
            "mask": torch.from_numpy(np.ascontiguousarray(masks, dtype=np.uint8)),
            "structure": torch.tensor(drawn.structure),
        }
        if self.latent_shape is not None:
            noise = torch.from_numpy(drawn.noise)
            sample |= {"noise": noise, "uniform": torch.tensor(drawn.uniform, dtype=torch.float32)}
        return sample

    def _rows(self, drawn: PatchDraw) -> slice:
        case = self.cases[drawn.case]
        first = case.start + drawn.corner[0]
        return slice(first, min(first + self.patches.size[0], case.rows.stop))

    def _shape(self, case: Case) -> Extent:
        return case.slices, *self.store.manifest.image.sides

    def _centres_of(self, number: int) -> tuple[list[Voxels], Voxels]:
        """Where patches of a volume may be centred, by structure and outside all; drawn once in each process."""
        if number not in self._centres:
            rng = np.random.default_rng([self.seed, 2, number])
            self._centres[number] = _centres(self.store, self.cases[number], rng)
        return self._centres[number]

    def _whole(self, array: AnyArray, axes: tuple[int, int, int], value: float) -> AnyArray:
        """The patch at its full size, where the volume is smaller: as much on both sides, as MONAI pads."""
        missing = [(0, 0)] * array.ndim
        for axis, side in zip(axes, self.patches.size, strict=True):
            lacking = side - array.shape[axis]
            missing[axis] = (lacking // 2, lacking - lacking // 2)
        if not any(map(any, missing)):
            return array
        return np.pad(array, missing, constant_values=within_type(value, array.dtype))


def _centres(store: SliceStore, case: Case, rng: np.random.Generator) -> tuple[list[Voxels], Voxels]:
    """Voxels of each structure that a volume has, and of none."""
    labels = store.masks[case.rows]  # [Z,S,S]
    everywhere: MaskArray = np.zeros(labels.shape, dtype=np.bool_)
    inside = []
    for structure in store.manifest.structures:
        mask = np.isin(labels, structure.values)
        everywhere |= mask
        voxels = np.flatnonzero(mask).astype(np.int64)
        if len(voxels):
            inside.append(voxels if len(voxels) <= KEPT else rng.choice(voxels, KEPT, replace=False))
    anywhere = rng.integers(labels.size, size=4 * KEPT)
    outside = anywhere[~everywhere.ravel()[anywhere]][:KEPT]
    return inside, outside


def check_depth(patches: Patches, store: SliceStore) -> None:
    """Raise UserError where patches have more slices than every training volume."""
    deepest = max((case.slices for case in store.cases_of("train")), default=0)
    if patches.size[0] > deepest:
        largest = f"no training volume of more than {deepest} slices"
        raise patch_too_large(patches.size, largest, store.manifest.dataset, str(store.folder))


def with_spacing(recipe: Recipe, store: SliceStore) -> Recipe:
    """The recipe with the spacing that its kernels follow: its own, or that of the training volumes.

    Raises ListedError where the patches cannot be halved as often as the network wants.
    """
    network = recipe.network
    if not isinstance(network, DynUnet) or network.dimensions == 2 or network.spacing is not None:
        return recipe
    spacing = median_spacing(store) or (1.0, 1.0, 1.0)
    log.info("kernels and strides follow a spacing of %s mm (depth, rows, columns)", " × ".join(map(str, spacing)))
    values = merge(recipe.model_dump(mode="json"), {"network": {"spacing": spacing}})
    return parse(Recipe, values, where=f"the recipe, with the spacing of {store.folder}")


def median_spacing(store: SliceStore) -> tuple[float, float, float] | None:
    """Millimetres between the voxels of the training volumes at the working size, along depth, rows and columns.

    None where the files of none tell.
    """
    image = store.manifest.image
    lengths: list[FloatArray] = [
        np.array([deep, down * fit.pixel[0], along * fit.pixel[1]], dtype=np.float32)
        for case in store.cases_of("train")
        if len(case.spacing) == 3
        for deep, down, along in (along_slices(case.spacing, image.slicing),)
        for fit in (fit_of(image, (case.height, case.width), case.spacing),)
    ]
    if not lengths:
        return None
    depth, rows, columns = (round(float(each), 4) for each in np.median(np.stack(lengths), axis=0))
    return depth, rows, columns
