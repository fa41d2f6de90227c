"""The JSON of the Conversations API as types: one definition for REST, WebSocket and webhooks."""
