"""The one error a user may see: what was wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["ListedError", "UserError", "first_line", "nearest"]


class UserError(Exception):
    """Bad input. Shown as one message without a traceback; the process ends with status 2.

    Parameters
    ----------
    what: one sentence that says what was found and what was expected.
    where: the file, folder or configuration key concerned.
    remedy: what the reader should do next.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        lines = [what]
        if where is not None:
            lines.append(f"  where:  {where}")
        lines.append(f"  remedy: {remedy}")
        super().__init__("\n".join(lines))


class ListedError(UserError):
    """Several problems found in one pass, reported together so that one run shows them all."""

    SHOWN = 30

    def __init__(self, what: str, problems: Iterable[str], *, where: str | Path | None = None, remedy: str) -> None:
        self.problems = tuple(problems)
        shown = [f"  - {problem}" for problem in self.problems[: self.SHOWN]]
        if len(self.problems) > self.SHOWN:
            shown.append(f"  … and {len(self.problems) - self.SHOWN} more")
        super().__init__("\n".join([what, *shown]), where=where, remedy=remedy)


def first_line(error: BaseException) -> str:
    """The first line of what an error says; the name of its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known spelling of `word`, or all known ones."""
    import difflib

    names = [str(name) for name in known]
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known here: {', '.join(sorted(names))}"
