"""What evaluation, training, export and the studies leave, as typed records."""
