"""The Conversations API's domain: messaging for applications, on the same rooms and events.

What its entrances (REST, WebSocket, GraphQL, webhooks) say in JSON is in ``shapes``.
"""
