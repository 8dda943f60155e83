"""The committed registries of datasets and weights: who owns each, on which terms, of which files it consists."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, RootModel, model_validator

from sdseg.core.settings import Name, Strict, parse, read_yaml

__all__ = ["RegistryEntry", "RemoteFile", "read_registry"]


class RemoteFile(Strict):
    """One archive, one piece of an archive that is cut into pieces (name.zip.001, …), or with `to` a plain file."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")
    url: str | None = Field(None, pattern=r"^https?://\S+$")
    kaggle: str | None = Field(None, pattern=r"^[\w-]+/[\w-]+$")  # owner/dataset
    synapse: str | None = Field(None, pattern=r"^syn\d+$")
    size: int | None = Field(None, ge=1, le=10**15)  # bytes
    checksum: str | None = Field(None, pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})$")
    checksum_from: Literal["owner", "third party"] | None = None
    # Where a file that is no archive is laid, below the folder that is filled.
    to: str | None = Field(None, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(place is not None for place in (self.url, self.kaggle, self.synapse)) > 1:
            raise ValueError("give one of 'url', 'kaggle' and 'synapse'")
        if (self.checksum is None) != (self.checksum_from is None):
            raise ValueError("'checksum' and 'checksum_from' go together")
        return self

    @property
    def place(self) -> str:
        """Where it is fetched, in words and without what may be secret in an address."""
        if self.kaggle or self.synapse:
            return f"kaggle:{self.kaggle}" if self.kaggle else f"synapse:{self.synapse}"
        return (self.url or "by hand").partition("?")[0]

    @property
    def expected(self) -> str:
        """The checksum in words, for messages."""
        if self.checksum is None:
            return "no checksum is published"
        return self.checksum + (" (from a third party)" if self.checksum_from == "third party" else "")


class RegistryEntry(Strict):
    """What is known of getting one dataset, or one set of weights."""

    title: str
    version: str
    page: str
    terms: str
    access: Literal["open", "account", "manual"]
    licence: str
    citation: str
    files: tuple[RemoteFile, ...] = Field(min_length=1)
    unpack: tuple[str, ...] | None = None  # patterns of the members to unpack; None: all
    purpose: str | None = None  # weights: what they are for
    holds: tuple[str, ...] = ()  # weights: files that are there when all is whole

    @model_validator(mode="after")
    def _places_fit(self) -> Self:
        names = [file.name for file in self.files]
        if len(set(names)) < len(names):
            raise ValueError("two files have the same name")
        for file in self.files:
            if self.access == "open" and file.url is None:
                raise ValueError(f"'{file.name}': an open file needs a 'url'")
            if self.access == "account" and not (file.kaggle or file.synapse):
                raise ValueError(f"'{file.name}': needs 'kaggle' or 'synapse'")
            if self.access == "manual" and (file.url or file.kaggle or file.synapse):
                raise ValueError(f"'{file.name}': what is fetched by hand has no address")
        return self


class _Registry(RootModel[dict[Name, RegistryEntry]]):
    pass


def read_registry(path: Path) -> dict[str, RegistryEntry]:
    """Every entry by its name, that of a source or of weights. Raises UserError that lists every mistake."""
    return dict(parse(_Registry, read_yaml(path), where=str(path)).root)
