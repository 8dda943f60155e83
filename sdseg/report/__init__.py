"""Stage: every result -> one page that opens without network."""
