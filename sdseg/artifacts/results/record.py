"""One file below results/, or a part of one: the stage that writes it and the page that reads it share the schema."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

__all__ = ["FORMAT", "Ceiling", "Memory", "Positive", "Record", "Score"]

FORMAT = 1
Score = Annotated[FiniteFloat, Field(ge=0, le=1)]
Positive = Annotated[FiniteFloat, Field(ge=0)]


class Record(BaseModel):
    """Frozen. Fields stand in the order of the file; those with a default may be missing in files of other versions.

    Reading is lenient: what a newer stage adds is ignored. Writing is strict: what the schema lacks is refused.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=(), defer_build=True)

    @classmethod
    def checked(cls, **values: Any) -> Self:
        """A record to be written. Raises ValidationError for a key that the schema lacks, at any depth."""
        return cls.model_validate(values, extra="forbid")

    def content(self) -> dict[str, Any]:
        """What goes into the file: the keys that were given, and no defaults."""
        return self.model_dump(mode="json", exclude_unset=True)


class Memory(Record):
    """The most memory that was held, and what it is of."""

    bytes: int | None = None
    of: str


class Ceiling(Record):
    """Dice of decode(encode(mask)): what the codec alone costs."""

    dice: Score
    split: str | None = None
