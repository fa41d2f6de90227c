"""Unread counts as a sync reports them.  Spec: client-server API, receiving notifications."""

from __future__ import annotations

import orjson

from homeserver.protocol.events import JsonObject
from homeserver.services.unread import Unread
from homeserver.storage.receipts import MAIN_THREAD


def counts_of(unread: Unread, *, by_thread: bool) -> JsonObject:
    """What a room's part says of what is unread there; ``by_thread``: of each thread apart."""
    threads = unread.threads
    if not threads:
        return {"unread_notifications": NOTHING_UNREAD}
    if not by_thread:
        return {"unread_notifications": _counts(unread.notifications, unread.highlights)}
    # v1.4: then the room's own count is of its main timeline alone
    main = threads.get(MAIN_THREAD)
    return {
        "unread_notifications": _counts(main.notifications, main.highlights)
        if main
        else NOTHING_UNREAD,
        "unread_thread_notifications": {
            thread_id: _counts(count.notifications, count.highlights)
            for thread_id, count in threads.items()
            if thread_id != MAIN_THREAD
        },
    }


def _counts(notifications: int, highlights: int) -> JsonObject:
    return {"highlight_count": highlights, "notification_count": notifications}


NOTHING_UNREAD = orjson.Fragment(b'{"highlight_count":0,"notification_count":0}')
