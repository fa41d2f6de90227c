"""Sending later: messages of the Conversations API, and delayed events of Matrix (MSC4140)."""
