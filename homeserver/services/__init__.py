"""What the server does: one module per capability."""
