"""The exported graphs that several modules look at."""

from tests.helpers.exported_graphs import ct_slices, exported, latent_segmenter

__all__ = ["ct_slices", "exported", "latent_segmenter"]
