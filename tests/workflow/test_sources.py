"""Which code a rule depends on: its own row of the table, and a module that stands for the stage."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sdseg.core.fingerprint import fingerprint
from tests.test_layers import MODULES as ALL_MODULES
from tests.test_layers import PUBLIC
from workflow.sources import MODULES, code_of

ROOT = Path(__file__).resolve().parents[2]
RULES = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "workflow/rules").glob("*.smk")))


def test_every_rule_that_runs_a_verb_depends_on_its_code() -> None:
    blocks = re.split(r"(?=^ *rule(?: \w+)?:$)", RULES, flags=re.MULTILINE)
    names = set()
    for block in blocks:
        if re.search(r"-m sdseg|params\.(trainer|script)", block):
            name = re.search(r"rule (\w+):", block)
            assert name is not None
            assert f'code=code_of("{name[1]}"),' in block
            names.add(name[1])
    assert names == set(MODULES)


@pytest.mark.parametrize("rule", MODULES)
def test_the_code_is_that_of_a_stage(rule: str) -> None:
    package, _, module = MODULES[rule].partition(".")
    assert MODULES[rule] in ALL_MODULES
    assert module in PUBLIC.get(package, {module})
    assert code_of(rule) == fingerprint(MODULES[rule])
