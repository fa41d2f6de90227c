"""One instance with a thousand users against one user and one server."""
