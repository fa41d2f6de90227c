"""The sections of the configuration that say how much, and for how long."""

from __future__ import annotations

from msgspec import Struct


class RetentionConfig(Struct, frozen=True):
    """``retention``; None: for ever, or no limit."""

    default_ms: int | None
    min_ms: int | None
    max_ms: int | None
    redacted_content_after_ms: int | None


class ServerNoticesConfig(Struct, frozen=True):
    """``server_notices``."""

    account: str | None
    display_name: str
    avatar_url: str | None
    room_name: str
    room_topic: str | None


class SchedulingConfig(Struct, frozen=True):
    """``scheduling``."""

    max_delay_ms: int
    max_per_user: int
    keep_finished_ms: int


class WebhooksConfig(Struct, frozen=True):
    """``webhooks``."""

    allow_private_networks: bool
    keep_log_ms: int


class PushConfig(Struct, frozen=True):
    """``push``."""

    allow_private_networks: bool
    give_up_after_ms: int
    keep_read_ms: int
    email_after_ms: int
    email_every_ms: int
    email_text: bool


class LimitsConfig(Struct, frozen=True):
    """``limits``."""

    request_body_bytes: int


class WebSocketConfig(Struct, frozen=True):
    """``websocket``."""

    max_frame_bytes: int
    frames_per_second: float
    frames_at_once: int
    max_in_flight: int
    sockets_per_user: int
    max_unread_bytes: int
    max_replayed: int
