"""The Server-Server API, one module per module of the spec."""
