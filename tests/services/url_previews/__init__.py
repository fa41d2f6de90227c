"""Previews of what links lead to."""
