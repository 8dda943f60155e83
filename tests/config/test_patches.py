"""Patches of volumes: what nnU-Net makes of their spacing, and which recipes and datasets they are refused with."""

from __future__ import annotations

from typing import Any

import pytest

from sdseg.config.patches import SlidingWindow, levels_of
from sdseg.config.recipe import Recipe
from sdseg.core.errors import ListedError, UserError
from sdseg.core.settings import parse
from sdseg.datasets.check_configuration import configure
from tests.helpers.networks import direct_recipe

DYNUNET = {"architecture": "dynunet", "dimensions": 3, "channels": [4, 6, 8]}


def test_a_coarse_axis_is_left_alone_until_the_others_have_come_near_it() -> None:
    """nnU-Net's plan for the prostate (Task05): patches of 20 × 320 × 256 voxels of 3.6 × 0.62 × 0.62 mm."""
    kernels, strides = levels_of((20, 320, 256), (3.6, 0.62, 0.62), 7)
    assert kernels == [(1, 3, 3), (1, 3, 3), *[(3, 3, 3)] * 5]
    assert strides == [(1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2)]


def test_equal_spacing_halves_every_axis() -> None:
    kernels, strides = levels_of((128, 128, 128), (1.0, 1.0, 1.0), 6)
    assert kernels == [(3, 3, 3)] * 6
    assert strides == [(1, 1, 1), *[(2, 2, 2)] * 5]


def test_windows_of_a_volume_are_counted() -> None:
    window = SlidingWindow(size=(8, 16, 16), overlap=0.5)
    assert window.patches_per_slice((32, 32)) == 9 / 4  # three along rows and columns, a new one every four slices
    assert SlidingWindow(size=(8, 32, 32), overlap=0.0).patches_per_slice((32, 32)) == 1 / 8


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"network": DYNUNET}, "sees patches of volumes; give 'patches'"),
        ({"patches": {"size": [8, 16, 16]}}, "'patches' are of volumes; set 'network.dimensions: 3'"),
        ({"network": {**DYNUNET, "dimensions": 2, "spacing": [1, 1, 1]}}, "'spacing' is that of volumes"),
        ({"network": DYNUNET, "patches": {"size": [4, 12, 12]}}, "cannot be halved 2 times: at level 2 4 × 6 × 6"),
        (
            {"network": DYNUNET, "patches": {"size": [8, 16, 16]}, "training": {"augmentation": "affine"}},
            "'training.augmentation: affine' is of slices; .* none, flips, strong",
        ),
        ({"network": {"architecture": "basic-unet", "dimensions": 3}}, "'network.dimensions': it means nothing with"),
    ],
)
def test_recipes_that_do_not_fit_together_are_refused(over: dict[str, Any], message: str) -> None:
    values = {"description": "one", "network": {}, **over}
    values["network"] = {"kind": "direct", **values["network"]}
    with pytest.raises(ListedError, match=message):
        parse(Recipe, values, where="here")


def test_recipes_of_slices_say_nothing_of_volumes() -> None:
    """What a model of slices records is what it always was."""
    recorded = direct_recipe(network={"architecture": "dynunet", "channels": [4, 6, 8]}).model_dump(mode="json")
    assert "patches" not in recorded
    assert not {"dimensions", "spacing"} & set(recorded["network"])


def test_a_plan_refuses_volumes_of_a_dataset_of_images() -> None:
    plan: dict[str, Any] = {
        "recipes": {"unet3d": {"file": "config/recipes/unet3d.yaml"}},
        "datasets": {"btcv": {"source": "btcv", "size": 256}},
    }
    configure(plan, where="mine.yaml")
    with pytest.raises(UserError, match="'kseg', which holds images and no volumes"):
        configure(plan | {"datasets": {"kseg": {"source": "kseg", "size": 256}}}, where="mine.yaml")
    with pytest.raises(UserError, match=r"patch larger than the volume.*slices of 64 × 64 pixels"):
        configure(plan | {"datasets": {"btcv": {"source": "btcv", "size": 64}}}, where="mine.yaml")
