"""Files of a run as a whole, beside predict.json: written in one step, and never over one of the user's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sdseg.core.errors import UserError
from sdseg.core.files import atomic_file, sha256_file

__all__ = ["ITK_SNAP", "SLICER", "STATISTICS", "check_ours", "placed_beside"]

STATISTICS = "statistics.csv"
SLICER, ITK_SNAP = "labels.ctbl", "labels_itksnap.txt"


def check_ours(output: Path, names: Iterable[str], written: Mapping[str, Iterable[str]]) -> None:
    """Raise UserError where `output` holds a file of these names that is not as a former run `written` it.

    `written`: SHA-256 of what runs wrote under each name.
    """
    for name in names:
        path = output / name
        if path.exists() and not (path.is_file() and sha256_file(path) in written.get(name, ())):
            raise UserError(
                f"'{name}' was {'changed since a run' if written.get(name) else 'there before any run'} wrote it: this "
                "run would replace it",
                where=path,
                remedy="move it away, name another --output folder, or say --overwrite to have it replaced",
            )


@contextmanager
def placed_beside(output: Path, contents: Mapping[str, Iterable[str]]) -> Iterator[dict[str, str]]:
    """Write lines into temporary files, give their SHA-256 by name, and put them in place when the block ends well."""
    with ExitStack() as places:
        staged = {name: places.enter_context(atomic_file(output / name)) for name in contents}
        for name, lines in contents.items():
            with staged[name].open("w", encoding="utf-8", newline="") as stream:
                stream.writelines(lines)
        yield {name: sha256_file(path) for name, path in staged.items()}
