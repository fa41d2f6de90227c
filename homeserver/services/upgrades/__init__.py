"""Room upgrades: a room is replaced by one of another version."""
