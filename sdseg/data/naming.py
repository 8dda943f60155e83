"""Names of results: one each, kept from run to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["result_names"]


def result_names(wanted: Sequence[tuple[str, str]], taken: Mapping[str, str]) -> dict[str, str]:
    """The final name of each input, by key, from pairs of key and wanted name.

    Keys in `taken`, those of earlier runs, keep their names. The others get the wanted one, numbered where names meet:
    x, x-2. Upper and lower case are one name, as on many disks.
    """
    fresh = [(key, name) for key, name in wanted if key not in taken]
    reserved = {name.lower() for _, name in fresh}
    used = {name.lower() for name in taken.values()}
    names, numbers = dict(taken), dict[str, int]()
    for key, name in fresh:
        chosen, number = name, numbers.get(name.lower(), 1)
        while chosen.lower() in used or (number > 1 and chosen.lower() in reserved):
            number += 1
            chosen = f"{name}-{number}"
        numbers[name.lower()] = number
        used.add(chosen.lower())
        names[key] = chosen
    return {key: names[key] for key, _ in wanted}
