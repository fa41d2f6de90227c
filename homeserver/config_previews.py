"""The section ``url_previews`` of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from msgspec import Struct


class UrlPreviewsConfig(Struct, frozen=True):
    """``url_previews``; hosts are globs, networks are CIDR."""

    enabled: bool
    allow_hosts: list[str] | None  # None: all
    deny_hosts: list[str]
    allow_networks: list[str]
    deny_networks: list[str]
    ports: list[int]
    languages: list[str]
    user_agent: str
    max_page_bytes: int
    max_image_bytes: int
    timeout_ms: int
    max_concurrent: int
    max_per_host: int
    refresh_after_ms: int
    cache_for_ms: int
    max_cached: int
    max_cached_bytes: int


PREVIEW_DURATIONS = ("timeout", "refresh_after", "cache_for")


def preview_problems(config: UrlPreviewsConfig) -> Iterator[str]:
    """What cannot be used of it."""
    for key in ("allow_networks", "deny_networks"):
        for text in getattr(config, key):
            try:
                ip_network(text)
            except ValueError:
                yield (
                    f"url_previews.{key}: found {text!r}; allowed: an IP address or a network "
                    "such as 10.0.0.0/8, without bits beyond its mask"
                )
    if not 0 < config.timeout_ms <= 120_000:
        yield "url_previews.timeout: found a time that cannot be used; allowed: up to 2m"
    if config.refresh_after_ms > config.cache_for_ms:
        yield "url_previews.refresh_after: found more than cache_for; allowed: at most that"
