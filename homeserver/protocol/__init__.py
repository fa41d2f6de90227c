"""Matrix itself, pure: no I/O, no clock, no database, no configuration."""
