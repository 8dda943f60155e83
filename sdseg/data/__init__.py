"""Prepared data: from raw files to the slice store, and from the store to batches and training samples."""
