"""`KEY=VALUE` on the command line as the settings they are laid over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdseg.core.errors import UserError

__all__ = ["assignments"]


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """`a.b=value` pairs as a nested mapping; values are read as YAML."""
    from sdseg.core.yaml_json import yaml_value

    nested: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"'{pair}' is not KEY=VALUE", where="--set", remedy="write for example training.steps=500")
        place = nested
        *sections, last = key.split(".")
        for section in sections:
            place = place.setdefault(section, {}) if isinstance(place, dict) else place
        if not isinstance(place, dict) or last in place:  # a value where a section is meant, or twice the same key
            raise UserError(f"'{pair}' does not fit", where="--set", remedy="give each key once")
        place[last] = yaml_value(value, where=f"--set {pair}")
    return nested
