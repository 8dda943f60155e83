"""What the user typed: verbs, options and what this machine can do."""
