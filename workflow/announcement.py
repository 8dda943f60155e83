"""One line at the start of a run: what it is going to need, by counts and known sizes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snakemake.logging import logger

from sdseg.sizing.missing import missing_inputs
from sdseg.sizing.overview import needs_of, one_line

if TYPE_CHECKING:
    from plan import Plan

__all__ = ["announce"]


def announce(plan: Plan) -> None:
    """Log the line. Nothing is probed and no library is loaded: `sdseg estimate` says it at length."""
    absent = missing_inputs(plan.settings, plan.recipes)
    more = f"; {len(absent)} thing(s) are missing" if absent else ""
    logger.info(f"This run: {one_line(needs_of(plan.settings, plan.recipes))}{more} (sdseg estimate CONFIG tells more)")
