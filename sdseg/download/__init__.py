"""Stage: the archives of a dataset, from whoever offers them, to its raw files."""
