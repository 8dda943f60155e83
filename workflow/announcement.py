"""One line at the start of a run: what it is going to need, by counts and known sizes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snakemake.logging import logger

from sdseg.sizing.missing_inputs import missing_inputs
from sdseg.sizing.run_needs import needs_of, one_line

if TYPE_CHECKING:
    from plan import Plan

__all__ = ["announce"]


def announce(plan: Plan) -> None:
    """Log the line. Nothing is probed and no library is loaded: `sdseg estimate` says it at length.

    With environments of their own, jobs could tell what they lack only when those were made: there it is a warning.
    """
    absent = missing_inputs(plan.settings, plan.recipes)
    more = f"; {len(absent)} thing(s) are missing" if absent else ""
    logger.info(f"This run: {one_line(needs_of(plan.settings, plan.recipes))}{more} (sdseg estimate CONFIG tells more)")
    if absent and plan.own_environments:
        lines = [f"  - {each.subject}: {each.what}\n    remedy: {each.remedy}" for each in absent]
        size = "3.3 GB " if plan.settings.device == "cuda" else ""
        what = f"an environment is made first ({size}to fetch), and then jobs would stop at what is missing:"
        logger.warning("\n".join([what, *lines]))
