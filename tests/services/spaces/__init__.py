"""Spaces and summaries."""
