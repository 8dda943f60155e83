from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sdseg.core.array_types import AnyArray
from sdseg.io.geometry import Geometry, check_same_grid

AXCODES = [
    "".join(pair[flip] for pair, flip in zip(axes, flips, strict=True))
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for flips in itertools.product((0, 1), repeat=3)
]
DIRECTIONS = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "I": (2, -1), "S": (2, 1)}


def affine_of(axcodes: str, spacing: tuple[float, float, float] = (0.8, 1.3, 2.5), degrees: float = 0.0) -> AnyArray:
    """Affine whose array axes run along `axcodes`, the whole then tilted by `degrees` about a skew axis."""
    matrix = np.zeros((4, 4))
    for column, code in enumerate(axcodes):
        axis, sign = DIRECTIONS[code]
        matrix[axis, column] = sign * spacing[column]
    tilt = Rotation.from_rotvec(np.deg2rad(degrees) * np.array([1.0, 2.0, 3.0]) / np.sqrt(14)).as_matrix()
    matrix[:3, :3] = tilt @ matrix[:3, :3]
    matrix[:, 3] = (-12.5, 40.0, 7.25, 1.0)
    return matrix


def geometry_of(affine: AnyArray, shape: tuple[int, int, int] = (3, 4, 5)) -> Geometry:
    rows = tuple(tuple(float(value) for value in row) for row in affine)
    return Geometry(shape=shape, affine=rows, qform=rows, qform_code=1, sform_code=1)


def test_there_are_48_ways_to_lay_axes() -> None:
    assert len(set(AXCODES)) == 48


@pytest.mark.parametrize("degrees", [0.0, 12.0])
@pytest.mark.parametrize("axcodes", AXCODES)
def test_canonical_order_follows_the_patient_and_leads_back(axcodes: str, degrees: float) -> None:
    geometry = geometry_of(affine_of(axcodes, degrees=degrees))
    native = np.arange(60).reshape(3, 4, 5)
    canonical = geometry.to_canonical(native)
    assert geometry.axcodes == axcodes
    assert canonical.shape == geometry.canonical_shape
    np.testing.assert_array_equal(geometry.to_native(canonical), native)
    # Independent of nibabel: walking along each canonical axis moves towards the patient's right, front and head.
    positions = np.stack(np.meshgrid(*map(np.arange, native.shape), indexing="ij"), axis=-1) @ geometry.matrix[:3, :3].T
    by_value = positions.reshape(-1, 3)[canonical.ravel()].reshape(*canonical.shape, 3)
    for axis in range(3):
        step = np.diff(by_value, axis=axis)
        assert (step[..., axis] > 0).all()
        np.testing.assert_allclose(np.linalg.norm(step, axis=-1), geometry.spacing[axis])


@given(
    axcodes=st.sampled_from(AXCODES),
    degrees=st.floats(0, 180),
    spacing=st.tuples(*[st.floats(0.05, 8.0)] * 3),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
)
def test_orientation_round_trip_for_any_oblique_affine(
    axcodes: str, degrees: float, spacing: tuple[float, float, float], shape: tuple[int, int, int]
) -> None:
    geometry = geometry_of(affine_of(axcodes, spacing, degrees), shape)
    native = np.random.default_rng(0).integers(0, 99, shape)
    canonical = geometry.to_canonical(native)
    assert canonical.shape == geometry.canonical_shape
    np.testing.assert_array_equal(geometry.to_native(canonical), native)


def test_grids_that_differ_by_rounding_are_the_same() -> None:
    affine = affine_of("LPS", degrees=5)
    assert check_same_grid(geometry_of(affine), geometry_of(affine.astype(np.float32))) is None


def test_a_shifted_label_is_seen() -> None:
    affine = affine_of("LPS")
    moved = affine.copy()
    moved[0, 3] += 0.8
    assert "affines of image and label differ" in str(check_same_grid(geometry_of(affine), geometry_of(moved)))


def test_another_spacing_is_seen_at_the_far_corner() -> None:
    affine = affine_of("RAS")
    stretched = affine.copy()
    stretched[2, 2] *= 1.02
    assert check_same_grid(geometry_of(affine, (3, 4, 2)), geometry_of(stretched, (3, 4, 2))) is not None


def test_another_shape_is_seen() -> None:
    affine = affine_of("RAS")
    assert "shape" in str(check_same_grid(geometry_of(affine), geometry_of(affine, (3, 4, 6))))
