"""What the text of an argument may stand for, and how a wrong one is refused."""

from __future__ import annotations

import argparse
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdseg.cli.argument_types import number, several, whole
from sdseg.cli.commands import HANDLERS, main
from sdseg.cli.parser import build_parser

SPLIT = ["split", "--settings", "s", "--raw", "r", "--output", "o"]
PREDICT = ["predict", "image.png", "--model", "m"]
WORDS = re.compile("no (whole )?number|not 3 numbers|an empty path|is none of|is not NAME=PATH")
EVALUATE = ["evaluate", "--prepared", "p", "--model", "m", "--output", "o"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*SPLIT, "--fractions", "x"], "--fractions: 'x' is not 3 numbers with commas between them, as in 0.8,0.1,0.1"),
        ([*SPLIT, "--fractions", "0.8,x,0.1"], "'x' is no number from 0 to 1; numbers with commas are expected"),
        ([*SPLIT, "--fractions", "0.8,nan,0.1"], "'nan' is no number from 0 to 1"),
        ([*SPLIT, "--seed=-1"], "argument --seed: '-1' is no whole number from 0 to 4294967295"),
        ([*SPLIT, "--seed", "9" * 30], "is no whole number from 0 to 4294967295"),
        ([*SPLIT, "--seed", "9" * 5000], "…' is no whole number"),
        ([*PREDICT, "--output", "o", "--batch", "0"], "argument --batch: '0' is no whole number from 1 to 65536"),
        ([*PREDICT, "--output", "o", "--batch", "1e12"], "'1e12' is no whole number"),
        ([*PREDICT, "--output", ""], "argument --output: an empty path; name a file or folder"),
        ([*EVALUATE, "--nsd-tolerance", "inf"], "argument --nsd-tolerance: 'inf' is no number above 0, up to 1000"),
        ([*EVALUATE, "--sweep", "--steps", "1,51"], "'51' is no whole number from 1 to 50; numbers with commas"),
        ([*EVALUATE, "--stability", "1"], "'1' is no whole number from 2 to 1000"),
        (["phantoms", "--source", "kseg", "--output", "o", "--scale", "0"], "'0' is no number above 0, up to 1000"),
    ],
)  # fmt: skip
def test_wrong_arguments(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert message in capsys.readouterr().err


def arguments() -> list[argparse.Action]:
    (verbs,) = (each.choices for each in build_parser(HANDLERS)._actions if each.dest == "verb")
    assert isinstance(verbs, dict)
    return [action for parser in verbs.values() for action in parser._actions]


def test_every_type_refuses_in_words() -> None:
    """No bare `int`, `float` or function of ours, whose name argparse would show."""
    kinds = [action.type for action in arguments() if action.type is not None]
    assert len(kinds) > 60
    for kind in kinds:
        assert callable(kind)
        with pytest.raises(argparse.ArgumentTypeError, match=WORDS):
            kind(" ")


def test_defaults_lie_within_the_bounds() -> None:
    for action in arguments():
        if callable(action.type) and isinstance(action.default, int | float):
            value: Any = action.type(str(action.default))
            assert value == action.default


@given(st.integers())
def test_whole_numbers(value: int) -> None:
    read = whole(-5, 70)
    if -5 <= value <= 70:
        assert read(str(value)) == value
    else:
        with pytest.raises(argparse.ArgumentTypeError, match="no whole number from -5 to 70"):
            read(str(value))


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_several_numbers(values: list[float]) -> None:
    text = ",".join(map(repr, values))
    assert several(number(0, 1), "1,2", 3)(text) == tuple(values)
