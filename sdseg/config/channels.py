"""What a configuration says of several channels: where each lies, which one pictures show, how each is normalised."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from sdseg.config.normalisation import ChannelNormalisation, Normalisation
from sdseg.core.errors import UserError, nearest

__all__ = ["ID", "channel_problems", "check_channel_names", "without_number", "without_twins"]

ID = "{id}"  # in the place of a case's id, in patterns of files
Chosen = Normalisation | Mapping[str, ChannelNormalisation] | None


def channel_problems(
    layout: str, channels: Mapping[str, str], images: str | None, shown: str | None, normalisation: Chosen
) -> Iterator[str]:
    """What is wrong with the keys of channels, as far as no file is needed to tell."""
    if channels and layout == "nnunet":
        yield "'channels' does not belong to 'layout: nnunet': dataset.json names them ('channel_names')"
    if len(channels) == 1:
        yield "'channels' names one: leave it out, and say where its files lie as 'images' (table: column 'image')"
    if len({name.lower() for name in channels}) < len(channels):
        yield "two 'channels' have the same name but for upper and lower case"
    if len(set(channels.values())) < len(channels):
        yield "'channels' names one place twice"
    if channels and images is not None:
        yield "'images' and 'channels' both say where images lie: keep one of them"
    if layout != "nnunet":
        yield from _unknown_channels(tuple(channels), shown, normalisation)


def _unknown_channels(names: tuple[str, ...], shown: str | None, normalisation: Chosen) -> Iterator[str]:
    """Names that `shown_channel` and `normalisation` use and no channel has, and channels left out."""
    named = normalisation if isinstance(normalisation, Mapping) else {}
    if not names and (named or shown is not None):
        yield f"'{'normalisation' if named else 'shown_channel'}' names channels, and there is but one"
        return
    if shown is not None and shown not in names:
        yield f"'shown_channel' is '{shown}', {nearest(shown, names)}"
    for name in named:
        if name not in names:
            yield f"'normalisation' names the channel '{name}', {nearest(name, names)}"
    if named and (missing := [name for name in names if name not in named]):
        yield f"'normalisation' leaves out the channel {', '.join(missing)}: name all of them, or one method for all"


def check_channel_names(names: tuple[str, ...], shown: str | None, normalisation: Chosen, where: str) -> None:
    """Raise UserError for the first of `_unknown_channels`, of channels that a file names."""
    problem = next(_unknown_channels(names, shown, normalisation), None)
    if problem is not None:
        raise UserError(
            problem, where=where, remedy="correct the dataset's section 'own', or the names of the channels"
        )


def without_twins(names: Iterable[str]) -> tuple[str, ...]:
    """The names, numbered where they are alike: nnU-Net takes some for ways to normalise, and repeats them."""
    unique: list[str] = []
    for name in names:
        number, free = 1, name
        while free.lower() in {each.lower() for each in unique}:
            number += 1
            free = f"{name}-{number}"
        unique.append(free)
    return tuple(unique)


def without_number(name: str) -> str:
    """The name as it was before `without_twins` gave it a number."""
    return re.sub(r"-\d+$", "", name)
