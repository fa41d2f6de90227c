"""Server notices: what the admin tells users, in a room of their own."""
