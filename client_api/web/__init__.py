"""Pages that the instance serves to people."""
