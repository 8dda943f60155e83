from __future__ import annotations

from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdseg.core.array_types import AnyArray
from sdseg.data.duplicates import LIMIT, near_pairs, picture_hash
from sdseg.datasets.phantoms import write_phantoms
from sdseg.io.images import read_image
from sdseg.io.volumes import read_volume

RGB, CT = (0.0, 255.0), (-175.0, 250.0)


def pairs_of(*pictures: AnyArray) -> list[tuple[int, int]]:
    return [(first, second) for first, second, _ in near_pairs([picture_hash(one[None], RGB) for one in pictures])]


def recoded(picture: AnyArray, quality: int) -> AnyArray:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1))


def test_a_picture_is_known_again_recoded_resized_brightened_and_with_noise(samples: Path) -> None:
    for path in sorted((samples / "kseg/Kvasir-SEG/images").iterdir())[:6]:
        picture = read_image(path)
        noise = np.random.default_rng(0).normal(0, 5, picture.shape)
        versions = [
            recoded(picture, 50),
            cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
            np.clip(picture * 1.1 + 5, 0, 255).astype(np.uint8),
            np.clip(picture + noise, 0, 255).astype(np.uint8),
        ]
        assert pairs_of(picture, *versions) == list(combinations(range(5), 2))


def test_kvasir_holds_four_pictures_twice(samples: Path) -> None:
    """Looked at by eye: three are the same but for their compression, one is the same moment."""
    paths = sorted((samples / "kseg256/Kvasir-SEG/images").glob("*.jpg"))
    found = pairs_of(*(read_image(path) for path in paths))
    assert {frozenset(paths[place].stem[-6:] for place in pair) for pair in found} == {
        frozenset(("4vn8rb", "w8kkjf")),
        frozenset(("3jai7q", "ygrgqe")),
        frozenset(("lr6e0r", "avuoo9")),
        frozenset(("o6oy21", "55y6tt")),
    }


@pytest.mark.parametrize("folder", ["cvc/PNG/Original", "refuge2/Test400", "kseg/Kvasir-SEG/images"])
def test_neighbouring_frames_and_like_pictures_are_not_the_same(samples: Path, folder: str) -> None:
    assert pairs_of(*(read_image(path) for path in sorted((samples / folder).iterdir()))) == []


def test_pictures_of_one_colour_are_no_ones_duplicates() -> None:
    assert picture_hash(np.full((1, 40, 40, 3), 7, np.uint8), RGB) is None
    assert picture_hash(np.full((5, 40, 40, 1), -1000, np.int16), CT) is None
    assert list(near_pairs([None, None])) == []


def test_volumes_are_compared_by_three_slices(tmp_path: Path) -> None:
    write_phantoms("btcv", tmp_path, 0, 0.25)
    volumes = [read_volume(path)[0] for path in sorted(tmp_path.rglob("img*.nii.gz"))]
    slices = [volume.transpose(2, 1, 0)[..., None] for volume in volumes]
    again = (slices[1] + np.random.default_rng(0).integers(-3, 4, slices[1].shape)).astype(np.int16)
    prints = [picture_hash(one, CT) for one in (*slices, again)]
    assert all(own is not None and own.shape == (3, 4) for own in prints)
    (found,) = near_pairs(prints)
    assert found[:2] == (1, len(slices))
    assert found[2] <= LIMIT / 2


def test_an_image_is_never_like_a_volume() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 1)).astype(np.int16)
    assert list(near_pairs([picture_hash(noise[:1], RGB), picture_hash(noise, RGB)])) == []
