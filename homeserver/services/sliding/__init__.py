"""Simplified sliding sync (MSC4186): a client is told of the rooms that it looks at, and of what
changed in them since it was told last.  See ``docs/sliding-sync.md``.
"""
