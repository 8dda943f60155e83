"""Numbers as people read them."""

from __future__ import annotations

import pytest

from sdseg.report import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00004, "0.0 ms"), (0.0012, "1.2 ms"), (0.0123, "12 ms"), (0.9996, "1.0 s"), (1.44, "1.4 s"), (210.4, "210 s")],
)
def test_seconds(value: float, text: str) -> None:
    assert formats.seconds(value).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (5 * 3600 + 120, "5 h 02 min"),
        (80 * 3600, "3 d 8 h"),
    ],
)
def test_duration(value: float, text: str) -> None:
    assert formats.duration(value).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (940, "940"), (13_200, "13.2 k"), (622_013, "622 k"), (1_234_567, "1.23 M"), (294_973_828, "295 M")],
)
def test_count(value: int, text: str) -> None:
    assert formats.count(value).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.0312, "0.0312"), (3.14e-6, "3.1e−6"), (-0.002, "−0.0020"), (1e-12, "1.0e−12")]
)
def test_difference(value: float, text: str) -> None:
    assert formats.difference(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.00264, "+0.0026"), (-0.011, "−0.0110"), (0.0, "0"), (-0.00004, "0"), (1.0, "+1.0000")]
)
def test_signed(value: float, text: str) -> None:
    assert formats.signed(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0312, "0.0312"), (0.00009, "< 0.0001"), (1.0, "1.0000")])
def test_p_value(value: float, text: str) -> None:
    assert formats.p_value(value) == text


def test_flatten_keeps_order_and_says_what_is_empty() -> None:
    values = {"b": {"y": True, "x": [1, None]}, "a": None, "c": {}, "d": []}
    assert list(formats.flatten(values)) == [
        ("b.y", "yes"),
        ("b.x", "1, none"),
        ("a", "none"),
        ("c", "empty"),
        ("d", "empty"),
    ]
