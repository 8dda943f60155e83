"""What `configure` takes, as argparse sees it."""

from __future__ import annotations

from sdseg.cli.argument_types import path
from sdseg.cli.training_options import NewVerb
from sdseg.sizing.presets import PRESETS

__all__ = ["add_configure"]

MODALITIES = ("rgb", "ct", "mr", "pet", "ultrasound", "other")


def add_configure(verb: NewVerb) -> None:
    command = verb("configure", "look at a folder of your own data, and write a configuration to train on it")
    folder = "folder with images or volumes and their masks, or in nnU-Net's layout; only read"
    command.add_argument("data", type=path, metavar="DATA_FOLDER", help=folder)
    command.add_argument(
        "--output", type=path, required=True, help="YAML file to write; none that is there is replaced"
    )
    presets = "; ".join(f"{name}: {preset.about}" for name, preset in PRESETS.items())
    scale = f"how large and how long (default: by this machine). {presets}"
    command.add_argument("--preset", choices=tuple(PRESETS), help=scale)
    kind = "of the data (default: what names, headers or values say); rgb: images, grey ones too"
    command.add_argument("--modality", choices=MODALITIES, help=kind)
    command.add_argument("--images", metavar="FOLDER", help="where the images lie, below DATA_FOLDER (default: found)")
    command.add_argument("--masks", metavar="FOLDER", help="where their masks lie (default: found)")
    drawn = "the several masks of an image are each another person's (docs/annotators.md), not each a structure's"
    command.add_argument("--annotators", action="store_true", help=drawn)
    command.add_argument("--name", help="of the dataset in the results (default: the folder's)")
    no_probe = "make no training steps to time them here: the number of steps is then estimated"
    command.add_argument("--no-probe", action="store_true", help=no_probe)
