"""The Matrix specification's own description of its APIs, held against what the server answers."""
