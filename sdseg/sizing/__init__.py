"""What networks and stages need, from their settings alone: nothing is built, and neither torch nor numpy imported."""
