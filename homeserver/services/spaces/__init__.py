"""Spaces and summaries: what is told of a room to somebody who may not be in it."""
