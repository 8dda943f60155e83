"""Sums over the layers of LDSeg's networks, against the networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sdseg.core.settings import merge
from sdseg.evaluation.studies.efficiency import flops_of
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.model_folder import count_parameters
from sdseg.models.segmenter import Batch
from sdseg.sizing.training_needs import Shape, memory_by_part, training_needs
from tests.helpers.end_to_end import VOLUMES, ldseg
from tests.helpers.tiny import RGB


@pytest.mark.parametrize("more", [{}, VOLUMES], ids=["2-D", "3-D"])
def test_parameters_operations_and_memory_are_those_of_the_networks(more: dict[str, Any]) -> None:
    wanted = {"inference": {"steps": 3, "samples": 2}, "network": {"label_encoder": {"dropout": 0.0}}}
    recipe = ldseg(**merge(more, wanted))
    segmenter = build_segmenter(recipe, RGB, 2)
    parts = memory_by_part(recipe, None, Shape(32, 2), images=1)
    names = ("label_encoder", "condition_encoder", "denoiser", "decoder")
    own = {name: count_parameters(segmenter.parts()[name]) for name in names}
    assert {part.part.replace(" ", "_"): part.parameters for part in parts} == own
    needs = training_needs(recipe, None, Shape(32, 2), cuda=False)
    assert needs.parameters == needs.trainable == sum(own.values())
    sides = recipe.sides((32, 32))
    images = torch.zeros(1, *sides, 3, dtype=torch.uint8)
    _, counted = flops_of(segmenter, images)
    if recipe.patches is None:
        assert needs.image_flops == sum(counted.values())
    else:  # one slice of a volume, of which it sees patches
        patches = recipe.patches.patches_per_slice((32, 32))
        assert needs.image_flops == pytest.approx(sum(counted.values()) * patches)

    alive: list[torch.Tensor] = []  # so that no address is used twice
    weights = {parameter.untyped_storage().data_ptr() for parameter in segmenter.parameters()}
    masks, noise = torch.zeros(1, 2, *sides), torch.randn(1, *segmenter.latent_shape)  # type: ignore[misc]
    batch = Batch(images, masks, torch.zeros(1, dtype=torch.int64), latent=None, noise=noise, uniform=torch.rand(1))
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: alive.append(tensor) or tensor, lambda kept: kept):
        sum(segmenter.train().losses(batch).values())
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in alive}
    kept = sum(size for address, size in storages.items() if address not in weights)
    assert 0.7 * 1.2 < sum(part.kept_bytes for part in parts) / kept < 1.1 * 1.2
