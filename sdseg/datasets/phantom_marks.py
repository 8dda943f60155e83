"""The files that mark a folder as one of phantoms, ours to replace; importing this loads nothing."""

from __future__ import annotations

__all__ = ["PHANTOM_MARKS"]

# Either will do; a workflow takes phantom.json away before it writes the phantoms again.
PHANTOM_MARKS = (".phantom", "phantom.json")
