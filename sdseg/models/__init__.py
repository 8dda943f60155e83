"""Networks and diffusion: image -> probability, and the weights that make it so."""
