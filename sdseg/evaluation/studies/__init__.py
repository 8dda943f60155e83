"""What is worth knowing of a trained model besides its scores: one module per study, one JSON file each."""
