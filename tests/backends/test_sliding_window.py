"""A volume from patches: as large as it was, whatever its size, and the mean where patches agree."""

from __future__ import annotations

import numpy as np
import pytest

from sdseg.backends.sliding_window import over_patches
from sdseg.config.patches import SlidingWindow
from sdseg.core.array_types import FloatArray


@pytest.mark.parametrize("shape", [(9, 20, 20), (3, 20, 20), (8, 16, 12)])
@pytest.mark.parametrize("blending", ["gaussian", "constant"])
def test_what_depends_on_a_voxel_alone_is_the_same_in_every_patch(shape: tuple[int, int, int], blending: str) -> None:
    volume = np.random.default_rng(0).normal(size=(*shape, 1)).astype(np.float32)
    seen = []

    def compute(patches: FloatArray) -> FloatArray:
        seen.append(patches.shape)
        return np.stack([patches[..., 0], patches[..., 0] ** 2], axis=1)[:, None]  # one hypothesis, two structures

    window = SlidingWindow.model_validate({"size": (8, 16, 12), "overlap": 0.25, "blending": blending})
    answer = over_patches(compute, volume, window, outside=-7.0)
    assert set(seen) == {(1, 8, 16, 12, 1)}
    assert answer.shape == (shape[0], 1, 2, *shape[1:])
    np.testing.assert_allclose(answer[:, 0, 0], volume[..., 0], atol=1e-5)
    np.testing.assert_allclose(answer[:, 0, 1], volume[..., 0] ** 2, atol=1e-5)


def test_around_a_volume_that_is_smaller_lies_the_lowest_value() -> None:
    def compute(patches: FloatArray) -> FloatArray:
        assert (patches[0, 0] == -7.5).all()
        assert (patches[0, -2:] == -7.5).all()
        return patches[..., 0][:, None]

    volume = np.ones((3, 8, 8, 1), dtype=np.int16)
    assert over_patches(compute, volume, SlidingWindow(size=(6, 8, 8)), outside=-7.5).shape == (3, 1, 8, 8)


@pytest.mark.parametrize(("shape", "overlap"), [((9, 21, 20), 0.25), ((3, 30, 12), 0.5), ((8, 16, 29), 0.0)])
@pytest.mark.parametrize("blending", ["gaussian", "constant"])
def test_patches_are_those_of_monai_and_blended_like_them(
    shape: tuple[int, int, int], overlap: float, blending: str
) -> None:
    import torch
    from monai.inferers.utils import sliding_window_inference

    size = (8, 16, 12)
    volume = np.random.default_rng(1).normal(size=(*shape, 2)).astype(np.float32)

    def compute(patches: FloatArray) -> FloatArray:  # what is found in a voxel depends on the patch around it
        return np.cumsum(patches, axis=3).transpose(0, 4, 1, 2, 3) + patches.mean(axis=(1, 2, 3))[..., None, None, None]

    window = SlidingWindow.model_validate({"size": size, "overlap": overlap, "blending": blending})
    theirs = sliding_window_inference(
        torch.from_numpy(np.moveaxis(volume, -1, 0))[None],
        roi_size=size,
        sw_batch_size=1,
        predictor=lambda patch: torch.from_numpy(compute(np.ascontiguousarray(patch.permute(0, 2, 3, 4, 1).numpy()))),
        overlap=overlap,
        mode=blending,
        cval=-7.0,
    )
    assert isinstance(theirs, torch.Tensor)
    answer = over_patches(compute, volume, window, outside=-7.0)
    np.testing.assert_allclose(answer, np.moveaxis(theirs[0].numpy(), 1, 0), rtol=1e-5, atol=1e-5)
