"""What applications install: the client of the Conversations API."""
