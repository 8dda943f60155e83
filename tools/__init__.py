"""Tools of the developers: generated files, splits."""
