"""Room upgrades."""
