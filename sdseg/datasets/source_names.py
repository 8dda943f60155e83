"""Names of the datasets in `sources`, for help and messages of a command line that imports nothing."""

from __future__ import annotations

__all__ = ["PHANTOM_NAMES", "SOURCE_NAMES"]

PHANTOM_NAMES = ("cvc", "kseg", "refuge2", "btcv", "sts", "lidc")  # those that there are phantoms of
SOURCE_NAMES = (*PHANTOM_NAMES, "isic2018", "sts-zenodo")
