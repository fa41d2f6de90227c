"""Media in a bucket of S3-compatible object storage."""
