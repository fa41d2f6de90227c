"""The Conversations API: REST, WebSocket and GraphQL for applications.  See ``docs/api/``."""
