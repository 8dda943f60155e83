"""Figures that others published, each with its source; one that was not at hand has no value, and says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from sdseg.core.errors import ListedError, UserError
from sdseg.core.settings import Strict, parse, read_yaml

__all__ = ["NOT_AT_HAND", "Figure", "Published", "Reference", "load_published"]

NOT_AT_HAND = "not at hand"
REMEDY = "correct the file, or fetch resources/paper again"


class Reference(Strict):
    """Where figures come from."""

    title: str
    url: str
    note: str = ""


class Figure(Strict):
    """One cell of a published table, as printed."""

    method: str
    metric: str
    unit: str
    source: str  # key of a `Reference`
    value: float | None = Field(ge=-1e15, le=1e15)
    dataset: str | None = None  # None: the table does not say, or it concerns none
    recipe: str | None = None  # the recipe of this project that stands for the row
    condition: str = ""  # what else the figure holds for, in words

    @property
    def share(self) -> float | None:
        """A percentage as 0 to 1, to be set beside our scores; other units as they are."""
        return self.value / 100.0 if self.value is not None and self.unit == "percent" else self.value

    @property
    def text(self) -> str:
        """The value with its unit, or that it is not at hand."""
        if self.value is None:
            return NOT_AT_HAND
        return f"{self.value:g}{' %' if self.unit == 'percent' else f' {self.unit}' if self.unit else ''}"


class _Table(Strict):
    table: str
    caption: str
    figures: tuple[Figure, ...]


class _Sources(Strict):
    sources: dict[str, Reference]


@dataclass(frozen=True)
class Published:
    """Every table of a folder."""

    sources: dict[str, Reference]
    captions: dict[str, str]  # table -> what it shows
    tables: dict[str, tuple[Figure, ...]]

    def find(self, table: str, **columns: str | None) -> tuple[Figure, ...]:
        """Figures of a table with the given method, dataset, metric, recipe, source or condition."""
        figures = self.tables.get(table, ())
        return tuple(
            figure for figure in figures if all(getattr(figure, key) == value for key, value in columns.items())
        )


def load_published(folder: Path) -> Published:
    """Read `sources.yaml` and every table beside it.

    Raises UserError or ListedError for a file that is missing or not as expected, for a source that is not listed,
    and for a table or figure that is there twice.
    """
    sources = parse(_Sources, read_yaml(folder / "sources.yaml"), where=str(folder / "sources.yaml")).sources
    captions: dict[str, str] = {}
    tables: dict[str, tuple[Figure, ...]] = {}
    for path in sorted(folder.glob("*.yaml")):
        if path.name == "sources.yaml":
            continue
        table = parse(_Table, read_yaml(path), where=str(path))
        problems = _problems(table, sources)
        if problems:
            raise ListedError("figures that cannot be used:", problems, where=path, remedy=REMEDY)
        if table.table in tables:
            raise UserError(f"table {table.table} is there twice", where=path, remedy=REMEDY)
        captions[table.table], tables[table.table] = table.caption, table.figures
    return Published(sources, captions, tables)


def _problems(table: _Table, sources: dict[str, Reference]) -> list[str]:
    problems, seen = [], set()
    for figure in table.figures:
        name = (figure.method, figure.dataset, figure.recipe, figure.metric, figure.condition, figure.source)
        words = " ".join(part for part in name if part)
        if figure.source not in sources:
            problems.append(f"{words}: source '{figure.source}' is not in sources.yaml")
        if name in seen:
            problems.append(f"{words}: there twice")
        seen.add(name)
    return problems
