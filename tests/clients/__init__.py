"""The clients that applications install, against a running instance."""
