"""Reading settings: YAML in, typed and frozen values out, every mistake named with the nearest known spelling."""

from __future__ import annotations

import os
import re
import types
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sdseg.core.errors import ListedError, nearest
from sdseg.core.yaml_json import read_yaml

__all__ = [
    "ALL_CHANNELS",
    "BY_CHANNEL",
    "MANY",
    "UNQUOTED_NO",
    "Name",
    "Place",
    "Seed",
    "Strict",
    "Width",
    "architecture_of",
    "merge",
    "parse",
    "read_yaml",
]

Model = TypeVar("Model", bound=BaseModel)
NAME = r"^[a-z0-9][a-z0-9_-]{0,99}$"
MANY = 1_000_000_000  # more steps, cases or slices than any run has
SHOWN = 80  # characters of a wrong value
# Of networks; pydantic lists them below 'network' like a key.
KINDS = ("latent-diffusion", "end-to-end-diffusion", "direct")
ARCHITECTURE = "architecture: "  # begins those of the classes that `architecture_of` chooses among
ALL_CHANNELS, BY_CHANNEL = "for all channels", "by channel"  # of a normalisation
FORMS = ("word", "mapping", ALL_CHANNELS, BY_CHANNEL)  # of a value that may be either; listed likewise
METHODS = ("percentiles", "z-score", "min-max", "window")  # of a normalisation; listed below it, or below a channel
FORM = re.compile(
    r"literal\[|tuple\[|constrained-|\[key\]$|(str|int|float|bool)$"
)  # of other values, as pydantic has them

WANTED = "Input should be "
INSTANCE = re.compile(r" or (instance of \w+|object to extract fields from)")
YAMLS = {  # what YAML calls what Python calls otherwise
    "valid tuple": "valid list",
    "Tuple": "List",
    "valid dictionary": "valid mapping",
    "Dictionary": "Mapping",
    " after validation": "",
}

Name = Annotated[str, Field(pattern=NAME)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Width = Annotated[int, Field(ge=1, le=65536)]  # channels of a layer
UNQUOTED_NO = BeforeValidator(lambda value: "no" if value is False else value)  # which YAML reads as false


def _place(path: str) -> str:
    """Refuse a path that the workflow or the file system would take for something else."""
    if not path.strip():
        raise ValueError("an empty path")
    for character in path:
        if character in "{}<>" or not character.isprintable():
            raise ValueError(f"the path holds {character!r}; braces, '<', '>' and control characters cannot be used")
    if path.startswith("~"):
        raise ValueError(f"'~' is not written out here; write {os.path.expanduser(path)}")
    if any(len(part.encode()) > 255 for part in path.split("/")):
        raise ValueError("a name in the path is longer than the 255 bytes that file systems take")
    return path


Place = Annotated[str, AfterValidator(_place)]  # path of a file or folder, relative to the working directory


class Strict(BaseModel):
    """Frozen, without unknown keys, and with finite numbers."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False, defer_build=True
    )

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, data: Any) -> Any:
        """`threads: yes` would be read as 1."""
        for name, value in data.items() if isinstance(data, dict) else ():
            field = cls.model_fields.get(name) if isinstance(name, str) else None
            if isinstance(value, bool) and field is not None:
                kinds = _kinds(field.annotation)
                if kinds & {int, float} and bool not in kinds:
                    raise ValueError(f"'{name}' is {str(value).lower()}, and a number is expected")
        return data


def architecture_of(default: str) -> Callable[[Any], str]:
    """Which class of a section is meant, by its key `architecture`, for pydantic's `Discriminator`."""

    def tag(section: Any) -> str:
        named = section.get("architecture", default) if isinstance(section, dict) else None
        return f"{ARCHITECTURE}{named or getattr(section, 'architecture', default)}"

    return tag


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` laid over it, section by section. Neither is changed."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def parse(model: type[Model], data: dict[str, Any], *, where: str) -> Model:
    """Validate `data`; every problem is listed, an unknown key with the nearest known spelling."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = [_explain(model, problem) for problem in _of_one_form([dict(each) for each in error.errors()])]
        raise ListedError(
            f"{len(problems)} problem(s) in the configuration:",
            problems,
            where=where,
            remedy="correct the keys named above; config/config.yaml explains each",
        ) from None


def _of_one_form(problems: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One problem for each value: of one that may have several forms pydantic lists what each form wants of it.

    The form that was meant is that in which the most is right; where none is, all are named.
    """
    values: dict[tuple[Any, ...], list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}
    for problem in problems:
        steps = tuple(step for step in problem["loc"] if step != "[key]")
        last = len(steps) - 1
        forms = (place for place, step in enumerate(steps) if _is_form(str(step), place == last))
        form = next(forms, len(steps))
        values.setdefault(steps[:form], []).append((steps[form + 1 :], problem))
    chosen = []
    for whole, each in values.items():
        deepest = max(len(within) for within, _ in each)
        meant = [problem | {"loc": whole + within} for within, problem in each if len(within) == deepest]
        if len(each) == 1:
            chosen.append(each[0][1])
        elif deepest:
            chosen += meant
        else:
            first, *others = (str(problem["msg"]) for problem in meant)
            words = [first, *(other.removeprefix(WANTED) for other in others)]
            chosen.append(meant[0] | {"msg": ", or ".join(words)})
    return chosen


def _is_form(step: str, last: bool) -> bool:
    return bool(FORM.match(step)) or (last and step in {"str", "int", "float", "bool"})


def _explain(model: type[BaseModel], problem: dict[str, Any]) -> str:
    location, tags = _without_tags(problem["loc"])
    key = ".".join(map(_short, location))
    if problem["type"] == "extra_forbidden":
        known_keys = _keys_at(model, problem["loc"][:-1])
        if tags and location[-1] in known_keys:
            return f"unknown key '{key}': it means nothing with '{', '.join(tags)}'"
        return f"unknown key '{key}': {nearest(location[-1], known_keys)}"
    if problem["type"] == "union_tag_invalid":
        return _unknown_choice(key, problem["ctx"])
    if problem["type"] == "missing":
        return f"missing key '{key}'"
    message = INSTANCE.sub("", str(problem["msg"]).removeprefix("Value error, "))
    for pythons, yamls in YAMLS.items():
        message = message.replace(pythons, yamls)
    if problem.get("ctx", {}).get("pattern") == NAME:
        message = "a name has lower-case letters, digits, '-' and '_', 100 at most, and starts with a letter or digit"
    shown = "" if isinstance(problem["input"], dict | BaseModel) else f" (got {_short(repr(problem['input']))})"
    return f"{key}: {message}{shown}" if key else message


def _unknown_choice(key: str, context: dict[str, str]) -> str:
    """What is said of a section whose `kind`, `method` or `architecture` is none that there is."""
    chosen, known = context["tag"], context["expected_tags"]
    if not chosen.startswith(ARCHITECTURE):
        named = context["discriminator"].strip("'")
        return f"{key}.{named if named.isidentifier() else 'kind'}: '{chosen}' is none of {known}"
    return f"{key}.architecture: '{chosen.removeprefix(ARCHITECTURE)}' is none of {known.replace(ARCHITECTURE, '')}"


def _without_tags(steps: tuple[Any, ...]) -> tuple[list[str], list[str]]:
    """The keys that lead to a problem, and of what kind the section is that the last of them stands in.

    Pydantic lists the choice it made among several classes of a section as one more key.
    """
    keys: list[str] = []
    tags: list[str] = []
    for number, step in enumerate(map(str, steps)):
        if step in KINDS and keys[-1:] == ["network"]:
            tags.append(f"kind: {step}")
        elif step.startswith(ARCHITECTURE):
            tags.append(step)
        elif step in METHODS and "normalisation" in keys[-2:]:
            tags.append(f"method: {step}")
        elif step in FORMS:
            continue
        else:
            tags = tags if number == len(steps) - 1 else []
            keys.append(step)
    return keys, tags


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _kinds(annotation: Any) -> set[Any]:
    """The types that a field of this annotation may have."""
    if get_origin(annotation) in (Union, types.UnionType):
        return {kind for part in get_args(annotation) for kind in _kinds(part)}
    return _kinds(get_args(annotation)[0]) if get_origin(annotation) is Annotated else {annotation}


def _keys_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Names of the fields that may stand at a location of the tree."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})

    def follow(node: dict[str, Any]) -> list[dict[str, Any]]:
        if "$ref" in node:
            return follow(definitions[node["$ref"].rsplit("/", 1)[-1]])
        options = node.get("anyOf", []) + node.get("oneOf", []) + node.get("allOf", [])
        return [leaf for option in options for leaf in follow(option)] if options else [node]

    nodes = follow(schema)
    for part in location:
        following: list[dict[str, Any]] = []
        for node in nodes:
            patterned = next(iter(node.get("patternProperties", {}).values()), None)  # a mapping with named keys
            child = node.get("properties", {}).get(str(part)) or patterned or node.get("items")
            if isinstance(child, dict):
                following += follow(child)
        nodes = following or nodes  # a discriminator's value is no step of the tree
    return [key for node in nodes for key in node.get("properties", {})]
