"""The Conversations API as GraphQL: the same operations and types, and connections.

What REST has, GraphQL has: its operations are fields here, made from their declarations.
"""
