"""Reading settings: YAML in, typed and frozen values out, every mistake named with the nearest known spelling."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sdseg.errors import ListedError, UserError, nearest

__all__ = ["Name", "Strict", "merge", "parse", "read_yaml"]

Model = TypeVar("Model", bound=BaseModel)
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class Strict(BaseModel):
    """Frozen, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` laid over it, section by section. Neither is changed."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file, with one clear error for anything else."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("the file is missing", where=path, remedy="check the path and its spelling") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the file: {error}", where=path, remedy="check the file") from None
    except yaml.YAMLError as error:
        raise UserError(f"not valid YAML: {error}", where=path, remedy="correct the line named above") from None
    if not isinstance(data, dict):
        raise UserError("expected a mapping of keys to values", where=path, remedy="see config/config.yaml") from None
    return data


def parse(model: type[Model], data: dict[str, Any], *, where: str) -> Model:
    """Validate `data`; every problem is listed, an unknown key with the nearest known spelling."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = [_explain(model, dict(problem)) for problem in error.errors()]
        raise ListedError(
            f"{len(problems)} problem(s) in the configuration:",
            problems,
            where=where,
            remedy="correct the keys named above; config/config.yaml explains each",
        ) from None


def _explain(model: type[BaseModel], problem: dict[str, Any]) -> str:
    location = [str(part) for part in problem["loc"] if part not in ("latent-diffusion", "direct")]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        known = _keys_at(model, problem["loc"][:-1])
        return f"unknown key '{key}': {nearest(location[-1], known)}"
    if problem["type"] == "missing":
        return f"missing key '{key}'"
    message = str(problem["msg"]).removeprefix("Value error, ")
    shown = "" if isinstance(problem["input"], dict | BaseModel) else f" (got {problem['input']!r})"
    return f"{key}: {message}{shown}" if key else message


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
