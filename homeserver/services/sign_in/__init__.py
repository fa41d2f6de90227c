"""Signing in with what others vouch for: an application's own tokens, OpenID Connect providers."""
