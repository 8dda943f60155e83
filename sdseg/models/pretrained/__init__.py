"""Weights that others trained, taken over strictly."""
