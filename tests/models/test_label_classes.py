"""Structures taken apart into classes that exclude each other, and put together again."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdseg.artifacts.image_contract import Structure
from sdseg.data.store import structure_masks
from sdseg.models.label_classes import LabelClasses
from tests.helpers.tiny import DISC_CUP

OVERLAPPING = tuple(
    Structure(name=name, values=values) for name, values in {"a": (1, 2), "b": (2, 3), "c": (3,), "d": (5,)}.items()
)


def test_disc_and_cup_are_the_rim_and_the_cup() -> None:
    classes = LabelClasses.of(DISC_CUP)
    assert classes.members == ((0,), (0, 1))
    assert classes.count == 3
    assert classes.table(DISC_CUP)[:4].tolist() == [0, 1, 2, 0]


def test_labels_of_one_structure_are_one_class() -> None:
    assert LabelClasses.of((Structure(name="organs", values=(1, 2, 3)),)).members == ((0,),)


@given(st.lists(st.integers(0, 6), min_size=16, max_size=16))
def test_one_hot_is_the_table_of_the_label_ids(ids: list[int]) -> None:
    """Label id 4 and 6 belong to no structure."""
    labels = np.array(ids, dtype=np.uint8).reshape(1, 4, 4)
    classes = LabelClasses.of(OVERLAPPING)
    whole = classes.one_hot(torch.from_numpy(structure_masks(labels, OVERLAPPING)))
    assert whole.sum(dim=1).unique().tolist() == [1.0]
    assert np.array_equal(whole.argmax(dim=1).numpy(), classes.table(OVERLAPPING)[labels])
    # Sure logits of these classes are the masks themselves.
    probability = classes.probability(whole * 100.0)
    assert np.array_equal(probability.numpy() > 0.5, structure_masks(labels, OVERLAPPING))


@given(st.integers(0, 2**32 - 1))
def test_a_nested_structure_is_never_likelier_than_the_one_around_it(seed: int) -> None:
    logits = 4.0 * torch.randn(1, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    disc, cup = LabelClasses.of(DISC_CUP).probability(logits)[0]
    assert bool((cup <= disc).all())
    assert float(disc.max()) <= 1.0


def test_logits_are_those_of_the_probability() -> None:
    for classes in (LabelClasses.of(OVERLAPPING), LabelClasses.separate(3)):
        logits = torch.randn(2, classes.count, 4, 4, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(classes.logits(logits).sigmoid(), classes.probability(logits))
