"""The homeserver: what is true without HTTP, and what wires it together."""
