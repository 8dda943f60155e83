"""The input that the page shows at the first click: a phantom of the dataset that the model's structures are of."""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from sdseg.artifacts.manifests import GraphManifest
from sdseg.core.errors import UserError
from sdseg.datasets.layouts import find_cases
from sdseg.datasets.source_names import PHANTOM_NAMES
from sdseg.datasets.sources import SOURCES, source_named

__all__ = ["SampleInput", "phantom_for", "sample_from"]

SEED = 2026  # another one than those that phantoms to train on are usually drawn with
FEWEST = 0.001  # of the usual number of cases: as few as there can be
MOST_BYTES = 20_000_000  # of a sample of the user's own


@dataclass(frozen=True)
class SampleInput:
    """A file that the page holds."""

    name: str
    about: str
    data: bytes


def phantom_for(graph: GraphManifest) -> SampleInput | None:
    """A phantom of the dataset the model was trained on, else of one with its structures, else of its kind.

    None of a model of several files per case: phantoms have one.
    """
    if graph.image.channel_names:
        return None
    from sdseg.datasets.phantoms import write_phantoms  # needs SciPy, which a light install lacks

    source = _source_for(graph)
    with tempfile.TemporaryDirectory(prefix="sdseg-sample-") as place:
        folder = Path(place)
        write_phantoms(source, folder, SEED, FEWEST)
        case = find_cases(source_named(source), folder)[-1]
        data = _zipped(case.image) if case.image.is_dir() else case.image.read_bytes()
        suffix = ".zip" if case.image.is_dir() else "".join(case.image.suffixes[-2:])
    about = f"a phantom: a synthetic image drawn like those of {source_named(source).title}, of no patient"
    return SampleInput(f"phantom{suffix}", about, data)


def sample_from(path: Path) -> SampleInput:
    """A file of the user's own as the sample. Raises UserError where it is missing or large."""
    if not path.is_file():
        raise UserError(
            "the sample is missing", where=path, remedy="name an image, a NIfTI volume, or a zip of a series"
        )
    if path.stat().st_size > MOST_BYTES:
        raise UserError(
            f"a sample of {path.stat().st_size / 1e6:.0f} MB, which every reader of the page would have to load",
            where=path,
            remedy=f"choose one of at most {MOST_BYTES // 1_000_000} MB, or leave out --sample for a phantom",
        )
    return SampleInput(path.name, f"{path.name}, chosen by whoever made this page", path.read_bytes())


def _source_for(graph: GraphManifest) -> str:
    names = [structure.name for structure in graph.structures]
    alike = [name for name in PHANTOM_NAMES if (SOURCES[name].modality == "rgb") == (graph.image.modality == "rgb")]
    if graph.dataset in alike:
        return graph.dataset
    of_structures = (
        name
        for name in alike
        for structures in SOURCES[name].targets.values()
        if [structure.name for structure in structures] == names
    )
    return next(of_structures, alike[0])


def _zipped(folder: Path) -> bytes:
    """The files of a series; the same bytes at every time."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(each for each in folder.rglob("*.dcm") if each.is_file()):
            archive.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix()), path.read_bytes())
    return stream.getvalue()
