"""sdseg: latent-diffusion segmentation of medical images with a single reverse step."""

__version__ = "0.1.0"
