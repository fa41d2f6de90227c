"""Push: pushers, what they are sent, and the list of notifications.  See ``docs/push.md``."""
