"""Raw folders at planning: they are no reason to run again, so what changed in them without a word is told here."""

from __future__ import annotations

import json
from pathlib import Path

from snakemake.logging import logger

from sdseg.datasets.check_configuration import CheckedConfig

__all__ = ["look_at_raw_files"]

LOOKED_AT = 1000  # files of a dataset whose sizes are compared, evenly spread


def look_at_raw_files(run: CheckedConfig) -> None:
    """Drop our links to phantoms that are gone, and warn of raw folders with other files than the prepared ones."""
    for dataset, chosen in run.settings.datasets.items():
        results = Path(run.settings.results) / dataset
        if chosen.origin == "phantom":
            _drop_dead_links(results)
        else:
            _warn_of_other_files(dataset, results / "raw.json", Path(run.settings.raw_folder(dataset)))


def _drop_dead_links(results: Path) -> None:
    """Snakemake makes a missing file anew where it is needed, and stops at a dead link in any case."""
    for link in (results / "phantoms.json", results / "phantoms.csv"):
        if link.is_symlink() and not link.exists():
            link.unlink()


def _warn_of_other_files(dataset: str, record: Path, raw: Path) -> None:
    """A raw folder that was moved holds the same files; one that went away is needed no more."""
    try:
        files = json.loads(record.read_text(encoding="utf-8"))["files"]
        looked_at = files[:: max(1, len(files) // LOOKED_AT)]
        other = [each["path"] for each in looked_at if not _is_same(raw / each["path"], each["size"])]
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing was prepared yet, or its record is made anew
    if other and raw.is_dir() and any(raw.iterdir()):
        logger.warning(
            f"{dataset}: {raw} does not hold the files that the results were made from ('{other[0]}', "
            f"{len(other)} of {len(looked_at)} looked at). What is made already stays; "
            f"'snakemake --forcerun raw_record' makes it again from what is there now"
        )


def _is_same(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
