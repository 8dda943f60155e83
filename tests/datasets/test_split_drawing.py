"""Drawn splits: whole groups, near the wanted shares, the same ones for the same seed."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdseg.config.dataset import Draw
from sdseg.core.errors import UserError
from sdseg.datasets.split import draw_split
from sdseg.datasets.split_files import SPLITS

HERE = Path("raw")


def cases_of(sizes: list[int]) -> dict[str, str]:
    return {f"{group}-{number}": f"g{group}" for group, size in enumerate(sizes) for number in range(size)}


def shares(parts: tuple[int, int, int]) -> tuple[float, float, float]:
    total = sum(parts)
    return parts[0] / total, parts[1] / total, parts[2] / total


@given(
    sizes=st.lists(st.integers(1, 30), min_size=3, max_size=60),
    parts=st.tuples(*[st.integers(1, 9)] * 3),
    seed=st.integers(0, 5),
)
def test_groups_stay_together_near_the_shares(sizes: list[int], parts: tuple[int, int, int], seed: int) -> None:
    groups, draw = cases_of(sizes), Draw(seed=seed, fractions=shares(parts))
    split_of = draw_split(groups, draw, where=HERE)
    assert list(split_of) == list(groups)
    seen = defaultdict(set)
    for case, split in split_of.items():
        seen[groups[case]].add(split)
    assert all(len(splits) == 1 for splits in seen.values())
    counts = Counter(split_of.values())
    assert set(counts) == set(SPLITS)
    for split, share in zip(SPLITS, draw.fractions, strict=True):
        assert abs(counts[split] - share * len(groups)) <= 2 * max(sizes)


@given(st.permutations(list(cases_of([3, 1, 1, 2, 5, 4, 1, 1]).items())))
def test_the_order_of_the_cases_does_not_matter(items: list[tuple[str, str]]) -> None:
    assert draw_split(dict(items), Draw(), where=HERE) == draw_split(
        cases_of([3, 1, 1, 2, 5, 4, 1, 1]), Draw(), where=HERE
    )


def test_single_cases_meet_the_shares_exactly() -> None:
    counts = Counter(draw_split(cases_of([1] * 1000), Draw(fractions=(0.7, 0.1, 0.2)), where=HERE).values())
    assert counts == {"train": 700, "val": 100, "test": 200}


def test_no_split_gets_all_the_small_groups() -> None:
    sizes = [1 + number % 20 for number in range(400)]
    groups = cases_of(sizes)
    split_of = draw_split(groups, Draw(), where=HERE)
    sizes_of = {split: [sizes[int(name[1:])] for name in {groups[case] for case in groups if split_of[case] == split}]
                for split in SPLITS}  # fmt: skip
    for found in sizes_of.values():
        assert 8 < sum(found) / len(found) < 13  # 10.5 on average
        assert max(found) >= 18


def test_a_group_too_large_for_its_share_trains() -> None:
    for seed in range(10):
        split_of = draw_split(cases_of([60, *[1] * 40]), Draw(seed=seed), where=HERE)
        assert split_of["0-0"] == "train"
        assert Counter(split_of.values()) == {"train": 80, "val": 10, "test": 10}


def test_seeds_draw_different_splits_and_one_seed_always_the_same() -> None:
    groups = cases_of([1] * 40)
    drawn = {seed: draw_split(groups, Draw(seed=seed), where=HERE) for seed in range(5)}
    assert len({tuple(split.items()) for split in drawn.values()}) == 5
    # Written down: a later version must draw the same.
    assert [case for case, split in drawn[0].items() if split == "test"] == FIXED


FIXED = ["20-0", "23-0", "25-0", "29-0"]


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(UserError, match=r"2 group\(s\) of cases cannot be shared among train, val, test"):
        draw_split(cases_of([10, 20]), Draw(), where=HERE)


def test_names_of_one_group_are_drawn_together() -> None:
    groups = {f"{number}": f"p{number}" for number in range(12)}
    drawn = draw_split(groups | {"again": "P3 "}, Draw(), where=HERE)
    assert drawn["again"] == drawn["3"]
    assert draw_split(groups, Draw(), where=HERE) == draw_split(dict(groups), Draw(), where=HERE)
