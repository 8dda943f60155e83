"""Options that mean nothing beside another one are refused: left unread, a user would take them for heeded."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from sdseg.core.errors import UserError

__all__ = ["refuse_unused"]


def refuse_unused(arguments: argparse.Namespace, switch: str, choice: str, used: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse an option of one kind (`switch` names the kinds) given with another.

    `used`: the kinds that read an option, by the option's name in `arguments`, where None stands for not given. Raises
    UserError.
    """
    for name, kinds in used.items():
        if getattr(arguments, name) is not None and choice not in kinds:
            raise UserError(
                f"it means nothing with '{switch} {choice}'",
                where=f"--{name.replace('_', '-')}",
                remedy=f"leave it out; it belongs to {switch} {' or '.join(kinds)}",
            )
