"""When something was, and who it was, as people are told on the account pages."""

from __future__ import annotations

from datetime import UTC, datetime

MAX_NAME_LENGTH = 100
# What a browser's own name of itself has in it, and what people call that; the first that fits.
BROWSER_NAMES = {
    "Edg": "Edge",
    "OPR/": "Opera",
    "Firefox/": "Firefox",
    "FxiOS/": "Firefox",
    "CriOS/": "Chrome",
    "Chrome/": "Chrome",
    "Safari/": "Safari",
}
SYSTEM_NAMES = {
    "Android": "Android",
    "iPhone": "an iPhone",
    "iPad": "an iPad",
    "Windows": "Windows",
    "Mac OS X": "a Mac",
    "Linux": "Linux",
}


def when(time_ms: int | None) -> str:
    """A time, as HTML; None: never."""
    if time_ms is None:
        return "never"
    time = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f'<time datetime="{time:%Y-%m-%dT%H:%MZ}">{time:%Y-%m-%d %H:%M} UTC</time>'


def program_name(user_agent: str | None) -> str:
    """What people are told of any program, by what it calls itself: a browser, or its own words."""
    if not user_agent or user_agent.startswith("Mozilla/"):
        return browser_name(user_agent) if user_agent else "a program that does not say its name"
    return user_agent[:MAX_NAME_LENGTH]


def browser_name(user_agent: str | None) -> str:
    """What people call a browser, by what it calls itself."""
    agent = user_agent or ""
    browser = next((name for part, name in BROWSER_NAMES.items() if part in agent), "A browser")
    system = next((name for part, name in SYSTEM_NAMES.items() if part in agent), None)
    return f"{browser} on {system}" if system is not None else browser
