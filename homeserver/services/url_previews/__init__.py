"""Previews of what links lead to: fetched with care, parsed within bounds, kept for a while."""
