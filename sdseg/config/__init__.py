"""What a user chooses, as typed settings: one file per section of the configuration."""
