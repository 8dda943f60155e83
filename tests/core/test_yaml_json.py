"""YAML and JSON that people write: nothing in them is lost, and what cannot be read is one clear error."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from sdseg.cli.commands import main
from sdseg.config.dataset import load_dataset
from sdseg.config.recipe import load_codec, load_recipe
from sdseg.config.run import load_config
from sdseg.core import yaml_json
from sdseg.core.errors import ListedError, UserError
from sdseg.core.yaml_json import read_user_json, read_yaml, yaml_value
from sdseg.datasets.nnunet import read_description
from sdseg.datasets.registry import read_registry

TWICE: list[tuple[str, list[str]]] = [
    ("a: 1\nb: 2\na: 3\n", ["'a' in line 1 and again in line 3"]),
    ("datasets:\n  kseg: {source: kseg}\n  kseg: {source: cvc}\n", ["'kseg' in line 2 and again in line 3"]),
    ("a: {b: 1,\n  b: 2}\n", ["'b' in line 1 and again in line 2"]),
    ("- x: {1: a}\n  y: {1: a,\n      01: b}\n", ["'01' in line 2 and again in line 3"]),
    ("'a': 1\n\"a\": 2\na: 3\n", ["'a' in line 1 and again in line 2", "'a' in line 1 and again in line 3"]),
    ("x: &x {a: 1}\ny: {<<: *x, b: 1,\n  b: 2}\n", ["'b' in line 2 and again in line 3"]),
    ('{"a": {"b": 1,\n\t"b": 2}}', ["'b' in line 1 and again in line 2"]),
    ("null: 1\n~: 2\n", ["'~' in line 1 and again in line 2"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), TWICE)
def test_a_key_given_twice_names_both_lines(tmp_path: Path, text: str, expected: list[str]) -> None:
    with pytest.raises(ListedError, match="given twice") as caught:
        yaml_value(text.replace("\t", " "), where="x")
    assert list(caught.value.problems) == expected
    if not text.startswith("-"):
        file = tmp_path / "é.yaml"
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ListedError, match=re.escape(expected[0])) as caught:
            read_yaml(file)
        assert str(file) in str(caught.value)


@pytest.mark.parametrize("load", [load_config, load_dataset, load_recipe, load_codec, read_registry, read_description])
def test_every_file_a_user_writes_is_read_so(tmp_path: Path, load: Any) -> None:
    file = tmp_path / "dataset.json"
    file.write_text('{"labels": {"polyp": 1},\n "labels": {}}', encoding="utf-8")
    with pytest.raises(ListedError, match="'labels' in line 1 and again in line 2"):
        load(file)


def test_a_command_line_is_read_so(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--prepared", "p", "--recipe", "config/recipes/unet.yaml", "--output", "o"]
    assert main([*command, "--set", "training={steps: 1, steps: 2}"]) == 2
    assert "'steps' in line 1 and again in line 1" in capsys.readouterr().err
    assert main([*command, "--set", "training.steps=1", "--set", "training.steps=2"]) == 2
    assert "'training.steps=2' does not fit" in capsys.readouterr().err
    assert main([*command, "--set", "training=1", "--set", "training.steps.more=2"]) == 2
    assert "'training.steps.more=2' does not fit" in capsys.readouterr().err


def test_merges_may_be_written_over() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: {x: 4, <<: *a}\nd: {<<: [*a, {z: 5}]}\n"
    assert yaml_value(text, where="x") == yaml.safe_load(text)
    assert yaml_value(text, where="x")["b"] == {"x": 3, "y": 2}


@pytest.fixture
def usual_depth() -> Iterator[None]:
    """Python's own limit of recursion, which libraries raise."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("raw: café\n".encode("latin-1"), r"not UTF-8 text \(byte 0xe9, line 1\)"),
        ("# a\nraw: é\n".encode("utf-16"), r"not UTF-8 text \(it looks like UTF-16, line 1\)"),
        (b"a: 1\n\x89PNG\r\n\x1a\n", r"not UTF-8 text \(byte 0x89, line 2\)"),
        (b"a: \x00\x01", "not valid YAML: unacceptable character"),
        (b"a: 2024-13-45\n", "a value that cannot be read: month must be in"),
        (b"a: " + b"9" * 5000, "a value that cannot be read: Exceeds the limit"),
        (b"a: &a [*a]\n", "an alias makes a value part of itself"),
        (b"a: &a {b: {c: *a}}\n", "an alias makes a value part of itself"),
        (b"a: " + b"[" * 5000, "nested too deeply"),
        (b'{"a":' * 50000, "nested too deeply"),
        (b"{[1]: 2}\n", "not valid YAML: while constructing a mapping"),
        (b"a: !!python/object:os.system x\n", "not valid YAML: could not determine a constructor"),
        (b"a: =\n", "not valid YAML: could not determine a constructor"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(tmp_path: Path, content: bytes, message: str, usual_depth: None) -> None:
    file = tmp_path / "é.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_yaml(file)
    assert str(file) in str(caught.value)
    assert "remedy: " in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_a_key(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(file) == {"a": 1}
    file.write_bytes(b'\xef\xbb\xbf{"a":\t1}')
    assert read_yaml(file) == read_user_json(file) == {"a": 1}


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=4)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(KEYS, children, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_what_yaml_and_json_write_is_read_as_they_read_it(tree: dict[str, Any]) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True)
    assert yaml_value(text, where="x") == yaml.safe_load(text)


def test_json_with_tabs_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"a": [1, {"b": "x\ty"}]}, indent="\t"), encoding="utf-8")
    assert read_yaml(file) == read_user_json(file) == {"a": [1, {"b": "x\ty"}]}


WRITTEN = st.text(st.sampled_from("{}[]:,-?&*!<>|#%@`'\"\n\t a0~=.\\x"), max_size=30) | st.text(max_size=20)


with_libyaml = pytest.mark.skipif(not yaml_json.LIBYAML, reason="this build of PyYAML has no libyaml")


def read_both(text: str) -> tuple[str, str]:
    """A text as it is read, and as it is without libyaml; values as they are written, since NaN is not itself."""

    def read() -> str:
        try:
            return repr(yaml_value(text, where="x"))
        except UserError as error:
            return str(error)

    fast = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_json, "LIBYAML", False)
        return fast, read()


@with_libyaml
@given(WRITTEN)
@example("a: b\t")
@example("a: |#b")
@example("a: ! ")
@example("[a?b]")
@example("# c\n\ufeffrecipe: 1\n")
@example("b: |+\n\ufeff#=")
@example("%YAML 1.1#c\n---\na: 1")
def test_both_parsers_read_the_same(text: str) -> None:
    fast, slow = read_both(text)
    assert fast == slow


@with_libyaml
def test_what_is_committed_is_read_by_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(__file__).resolve().parents[2] / "config" / "recipes" / "sdseg.yaml"
    expected = yaml.safe_load(file.read_text("utf-8"))
    monkeypatch.setattr(yaml_json, "_Reader", None)
    assert read_yaml(file) == expected


def test_without_libyaml_everything_is_read_all_the_same() -> None:
    code = "import sys; sys.modules['yaml._yaml'] = None; from sdseg.core.yaml_json import LIBYAML, yaml_value; "
    done = subprocess.run(
        [sys.executable, "-c", code + "print(LIBYAML, yaml_value('a: [1, {b: 2}]', where='x'))"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == "False {'a': [1, {'b': 2}]}\n"


def test_bytes_of_a_command_line_that_are_no_text() -> None:
    with pytest.raises(UserError, match="not valid YAML: unacceptable character #xdce9"):
        yaml_value("a: caf\udce9", where="x")


@given(WRITTEN)
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    with suppress(UserError):  # and nothing else
        yaml_value(text, where="x")
