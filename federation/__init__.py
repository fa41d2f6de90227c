"""Other instances: finding them, trusting them, talking to them."""
