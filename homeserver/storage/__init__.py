"""All the SQL there is, one module per family of tables."""
