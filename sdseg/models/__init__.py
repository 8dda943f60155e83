"""What is known about networks, diffusion and weights."""
