"""Which packages sdseg and each of its extras ask for, and which of them are here."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from sdseg.core.provenance import version_of

__all__ = ["EXTRAS_SHOWN", "faults_of", "requirements_of"]

ROOT = Path(__file__).resolve().parents[2]
# What can be done with it, in the order of the table. Runtimes have lines of their own.
EXTRAS_SHOWN = {
    "formats": "MetaImage, NRRD, DICOM in further compressions",
    "train": "model folders, all that trains, evaluates and exports, prepare, phantoms",
    "download": "fetching datasets",
    "report": "the page of results",
    "workflow": "snakemake",
}


@cache
def requirements_of(extra: str = "") -> tuple[Requirement, ...]:
    """What an extra asks for, its own extras included; without one the package alone.

    From the checkout where there is one: what an editable install noted may be older.
    """
    lines: list[Requirement] = []
    for each in _lines(extra):
        named = sorted(each.extras) if each.name == "sdseg" else []
        lines += [own for extra in named for own in requirements_of(extra)] if named else [each]
    return tuple(lines)


def faults_of(requirement: Requirement) -> str | None:
    """The name of a package that is missing, with its version where that is another one; None where all is well."""
    version = version_of(requirement.name)
    if version is None:
        return requirement.name
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} {version}, expected {requirement.specifier}"
    return None


def _lines(extra: str) -> list[Requirement]:
    project = ROOT / "pyproject.toml"
    if project.is_file():
        table = tomllib.loads(project.read_text("utf-8"))["project"]
        return list(map(Requirement, table["optional-dependencies"][extra] if extra else table["dependencies"]))
    every = [Requirement(line) for line in metadata.requires("sdseg") or ()]
    if not extra:
        return [each for each in every if each.marker is None]
    return [
        each for each in every if each.marker and each.marker.evaluate({"extra": extra}) and "extra" in str(each.marker)
    ]
