"""Stage: slice store -> model folder."""
