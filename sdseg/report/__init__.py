"""The page of results: reading what the stages wrote, drawing it, and composing one self-contained file."""
