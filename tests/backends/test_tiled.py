"""Images of any size through tiles: what is away from seams is what the network gives for the whole image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sdseg.artifacts.image_contract import ImageContract
from sdseg.backends.base import batch_for, hypotheses_of
from sdseg.backends.open_model import open_model
from sdseg.backends.tiled import TiledBackend
from sdseg.backends.torch import TorchBackend
from sdseg.config.tiles import Tiles
from sdseg.core.array_types import AnyArray, FloatArray
from sdseg.export.tracing import export_graph
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.segmenter import Segmenter
from tests.helpers.networks import direct_recipe
from tests.helpers.tiny import RGB, describe, write_model

SIDE = 256
TILED = RGB.model_copy(update={"size": SIDE, "tiles": Tiles()})


def network(image: ImageContract) -> Segmenter:
    """Fully convolutional, of few pixels' sight: batch norm looks at nothing beside."""
    torch.manual_seed(0)
    recipe = direct_recipe(network={"channels": [4, 6], "residual_units": 0, "norm": "batch"})
    return build_segmenter(recipe, image, 1).eval()


@pytest.fixture(scope="module")
def photo() -> AnyArray:
    return np.random.default_rng(0).integers(0, 256, (2048, 2048, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def tiled_answer(photo: AnyArray) -> FloatArray:
    return TiledBackend(TorchBackend(network(TILED), TILED), TILED).probability(photo[None])


def sight_of(side: int = 64) -> int:
    """How far a changed pixel is felt, measured; its place among the pixels that are halved together counts."""
    image, middle, felt = RGB.model_copy(update={"size": side}), side // 2, 0
    backend = TorchBackend(network(image), image)
    pixels = np.random.default_rng(2).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    plain = backend.probability(pixels)[0, 0]
    for row in (middle, middle + 1):
        changed = pixels.copy()
        changed[0, row, row] = 255 - changed[0, row, row]
        places = np.argwhere(backend.probability(changed)[0, 0] != plain)
        felt = max(felt, int(np.abs(places - row).max()))
    return felt


def test_a_large_image_in_tiles_is_the_image_as_a_whole_away_from_seams(
    photo: AnyArray, tiled_answer: FloatArray
) -> None:
    whole_image = RGB.model_copy(update={"size": 2048})
    untiled = TorchBackend(network(whole_image), whole_image).probability(photo[None])
    assert tiled_answer.shape == untiled.shape == (1, 1, 2048, 2048)
    sight, step = sight_of(), SIDE // 2
    assert 1 < sight < 16
    inside = np.ones(2048, dtype=np.bool_)  # far from where a tile begins or ends
    for seam in range(step, 2048, step):
        inside[seam - sight : seam + sight] = False
    difference = np.abs(tiled_answer - untiled)[0, 0]
    assert difference[np.ix_(inside, inside)].max() < 1e-5
    assert difference.max() > 1e-4  # seams are there, or the test sees nothing


def test_a_graph_tiles_by_itself_as_the_model_does(photo: AnyArray, tmp_path: Path) -> None:
    image = RGB.model_copy(update={"tiles": Tiles(overlap=0.25, blending="constant")})
    segmenter, crop = network(image), photo[None, :90, :70]
    export_graph(segmenter, describe(image), tmp_path / "model.onnx")
    served = open_model(tmp_path / "model.onnx")
    assert served.image.tiles == Tiles(overlap=0.25, blending="constant")
    assert batch_for(served.backend, 8) == 1
    expected = TiledBackend(TorchBackend(segmenter, image), image).probability(crop)
    np.testing.assert_allclose(served.backend.probability(crop), expected, atol=1e-5)
    hypotheses = hypotheses_of(served.backend)
    assert hypotheses is not None
    np.testing.assert_array_equal(hypotheses(crop)[:, 0], served.backend.probability(crop))


def test_a_folder_tiles_by_itself_and_tells_each_tile(tmp_path: Path) -> None:
    image = RGB.model_copy(update={"tiles": Tiles()})
    backend = open_model(write_model(tmp_path / "model", image)).backend
    assert isinstance(backend, TiledBackend)
    tiles = []
    backend.on_tile = lambda: tiles.append(1)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 50, 32, 3), dtype=np.uint8)
    together = backend.probability(pixels)
    assert len(tiles) == 2 * backend.tiles_in(50, 32) == 2 * 3
    np.testing.assert_array_equal(together[1:], backend.probability(pixels[1:]))


def test_what_is_as_large_as_a_tile_is_computed_as_it_is(tmp_path: Path) -> None:
    image = RGB.model_copy(update={"tiles": Tiles()})
    pixels = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    plain = open_model(write_model(tmp_path / "plain")).backend.probability(pixels)
    tiled = open_model(write_model(tmp_path / "tiled", image)).backend.probability(pixels)
    np.testing.assert_array_equal(tiled, plain)


def test_around_what_is_smaller_than_a_tile_lies_the_lowest_value(tmp_path: Path) -> None:
    image = RGB.model_copy(update={"tiles": Tiles()})
    backend = open_model(write_model(tmp_path / "model", image)).backend
    small = np.full((1, 20, 32, 3), 200, dtype=np.uint8)
    padded = np.pad(small, ((0, 0), (6, 6), (0, 0), (0, 0)))
    np.testing.assert_allclose(backend.probability(small), backend.probability(padded)[:, :, 6:26], atol=1e-5)
