"""Every file below results/ as one typed record, for who writes it and for who reads it."""
