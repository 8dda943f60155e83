"""A recipe's values with others laid over them."""

from __future__ import annotations

from typing import Any

from sdseg.core.settings import merge

__all__ = ["lay_over"]

# Sections whose keys depend on their `architecture`: the default, and those whose keys are their own.
BEGUN_ANEW = {"condition": ("autoencoder", ("autoencoder", "unet")), "denoiser": ("ldm", ("unet",))}


def lay_over(recipe: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """The values of a recipe with others laid over them, section by section. Neither is changed.

    Where `over` names another kind or architecture, that section begins anew: the old one's keys mean nothing to it.
    """
    changed = over.get("network")
    if isinstance(changed, dict) and isinstance(recipe.get("network"), dict):
        recipe = {**recipe, "network": _network_kept(recipe["network"], changed)}
    return merge(recipe, over)


def _network_kept(network: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """What of a recipe's network means something to the values that are laid over it."""
    if _differs("kind", network, over):
        return {}
    if network.get("kind") == "direct" and _differs("architecture", {"architecture": "unet", **network}, over):
        return {"kind": "direct"}
    return {
        key: section
        for key, section in network.items()
        if key not in BEGUN_ANEW or not _begins_anew(section, over.get(key), *BEGUN_ANEW[key])
    }


def _begins_anew(section: Any, over: Any, default: str, apart: tuple[str, ...]) -> bool:
    if not isinstance(section, dict) or not isinstance(over, dict) or "architecture" not in over:
        return False
    old, new = section.get("architecture", default), over["architecture"]
    return old != new and (old in apart or new in apart)


def _differs(key: str, old: dict[str, Any], new: dict[str, Any]) -> bool:
    return key in new and new[key] != old.get(key)
