"""A sample of the corpus of bad inputs: each is answered with an error or a note that names it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.bad_input import GOOD, ask
from benchmarks.bad_inputs import FAMILIES, Bad, Ready, make_ready

EVERY = 20  # the whole corpus: python benchmarks/bad_input.py
pytestmark = pytest.mark.filterwarnings("default")  # as a user has them


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    return make_ready(tmp_path_factory.mktemp("bad input"))


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """As it was, with pytest's own handlers: a command line has the logger to itself."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sample_is_refused_or_noted(family: str, ready: Ready, tmp_path: Path) -> None:
    asked = 0
    for number, bad in enumerate(FAMILIES[family](replace(ready, scratch=tmp_path))):
        if number % EVERY != len(family) % EVERY:
            bad.clear()
            continue
        answer, asked = ask(family, bad, tmp_path), asked + 1
        assert answer.outcome in GOOD, f"{bad.name}: {answer.text}"
    assert asked


def test_an_answer_that_says_nothing_of_the_input_is_a_defect(tmp_path: Path) -> None:
    given = ["phantoms", "--source", "kseg", "--scale", "0.01", "--output", tmp_path / "raw"]
    assert ask("good", Bad("nothing is wrong", given, ("scale",)), tmp_path).outcome == "silent"
    wrong = Bad("another option", ["phantoms", "--source", "lungs", "--output", tmp_path], ("--scale",))
    assert ask("bad", wrong, tmp_path).outcome == "unclear"
