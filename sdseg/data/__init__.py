"""What is known about datasets, files, slices and splits."""
