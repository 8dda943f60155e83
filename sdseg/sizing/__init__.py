"""What networks and stages need, from their settings alone: nothing is built, torch and numpy stay away."""
