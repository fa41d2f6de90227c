"""People and applications."""
