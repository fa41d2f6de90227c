"""Encryption at rest of media: the keys, the container of a stored file, that of an upload."""
