"""The Client-Server API, one module per module of the Matrix spec."""
