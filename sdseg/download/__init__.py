"""Getting the archives of a dataset: who offers them, how they are fetched, and how they are unpacked."""
