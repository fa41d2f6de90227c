"""The OAuth 2.0 API: Comity as an authorization server.

What OAuth itself prescribes for requests, grants and PKCE is Authlib's (``grants.py``); what is
kept, and what becomes of a device, is ours.  Spec: client-server API, OAuth 2.0 API.
"""
