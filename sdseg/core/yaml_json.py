"""YAML and JSON that people write, read so that nothing in them is lost without a word.

What a lenient reader lets pass is an error here: a key given twice, text in another encoding than UTF-8, values that
hold themselves. YAML's merges (`<<`) may be written over, as is their purpose.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor

from sdseg.core.errors import ListedError, UserError

__all__ = ["read_user_json", "read_yaml", "yaml_value"]

LIBYAML: bool = yaml.__with_libyaml__  # not every build of PyYAML has it
# What libyaml takes where PyYAML does not, or for another value.
MORE_LENIENT = re.compile(r"[\t!?%\ufeff]|[|>][-+0-9]*#")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises UserError or ListedError for anything else."""
    text = _text(path)
    try:
        data = _json(text, path) if text.lstrip().startswith("{") else None
    except json.JSONDecodeError:
        data = None  # YAML in braces
    data = yaml_value(text, where=path) if data is None else data
    if not isinstance(data, dict):
        raise UserError("expected a mapping of keys to values", where=path, remedy="see config/config.yaml")
    return data


def read_user_json(path: Path) -> Any:
    """What a JSON file holds. Raises UserError or ListedError, FileNotFoundError where it is missing."""
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        return _json(_text(path), path)
    except json.JSONDecodeError as error:
        raise UserError(f"no JSON: {error}", where=path, remedy="correct the line named above") from None


def yaml_value(text: str, *, where: str | Path) -> Any:
    """The value that a YAML text stands for; `where` is named in errors."""
    twice: list[str] = []
    try:
        data = _value(text, twice)
        _check_ends(data, set(), set())
    except yaml.YAMLError as error:
        raise UserError(f"not valid YAML: {error}", where=where, remedy="correct the line named above") from None
    except ValueError as error:  # a date that does not exist, a number of thousands of digits, values in themselves
        raise UserError(
            f"a value that cannot be read: {error}", where=where, remedy="correct it, or quote it"
        ) from None
    except RecursionError:
        raise UserError("nested too deeply", where=where, remedy="see config/config.yaml") from None
    if twice:
        raise _given_twice(twice, where)
    return data


def _value(text: str, twice: list[str]) -> Any:
    """By libyaml, five times as fast; PyYAML's own parser tells better what is wrong, and where, and is stricter."""
    if LIBYAML and not MORE_LENIENT.search(text):
        with contextlib.suppress(yaml.YAMLError, RecursionError, UnicodeEncodeError):
            return _FastReader(text, twice).get_single_data()
    twice.clear()
    return _Reader(text, twice).get_single_data()


class _NotesTwice(Composer, SafeConstructor):
    """Notes the keys that a mapping has twice. Asked before merges are resolved, which may repeat keys.

    A composer in Python comes before libyaml's, which is C and asks nobody.
    """

    twice: list[str]

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[Hashable, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line, value = key.start_mark.line + 1, self.construct_object(key)
            if value in lines:
                self.twice.append(f"'{key.value}' in line {lines[value]} and again in line {line}")
            lines.setdefault(value, line)
        return node


class _Reader(_NotesTwice, yaml.SafeLoader):
    def __init__(self, text: str, twice: list[str]) -> None:
        yaml.SafeLoader.__init__(self, text)
        self.twice = twice


if LIBYAML:

    class _FastReader(_NotesTwice, yaml.CSafeLoader):
        def __init__(self, text: str, twice: list[str]) -> None:
            yaml.CSafeLoader.__init__(self, text)
            Composer.__init__(self)
            self.twice = twice


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError("the file is missing", where=path, remedy="check the path and its spelling") from None
    except OSError as error:
        raise UserError(f"cannot read the file: {error.strerror}", where=path, remedy="check the file") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else f"byte 0x{data[error.start]:02x}"
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"the file is not UTF-8 text ({kind}, line {line})", where=path, remedy="save it as UTF-8"
        ) from None


def _json(text: str, path: Path) -> Any:
    twice: list[str] = []

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            keys = [key for key, _ in pairs]
            twice.extend(f"'{key}'" for key in values if keys.count(key) > 1)
        return values

    try:
        data = json.loads(text, object_pairs_hook=mapping)
    except RecursionError:
        raise UserError("nested too deeply", where=path, remedy="see config/config.yaml") from None
    if twice:
        yaml_value(text.replace("\t", " "), where=path)  # JSON is YAML, and its reader knows the lines
        raise _given_twice(twice, path)
    return data


def _given_twice(twice: list[str], where: str | Path) -> ListedError:
    return ListedError(
        f"{len(twice)} key(s) given twice, of which only the last would count:",
        twice,
        where=where,
        remedy="keep one of them, or give one another name",
    )


def _check_ends(value: Any, above: set[int], checked: set[int]) -> None:
    """Raise ValueError where an alias makes a value part of itself."""
    if not isinstance(value, dict | list) or id(value) in checked:
        return
    if id(value) in above:
        raise ValueError("an alias makes a value part of itself")
    above.add(id(value))
    for part in value.values() if isinstance(value, dict) else value:
        _check_ends(part, above, checked)
    above.remove(id(value))
    checked.add(id(value))
