"""The parts of the Conversations API, by the key under which a handler finds each."""

from __future__ import annotations
