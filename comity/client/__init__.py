"""A client of the Conversations API.

::

    async with Client("https://chat.example") as client:
        await client.sign_in("alice", "a password")
        await client.send("bob@other.example", "Hello")
        async for update in client.updates():
            ...
"""

from comity.client.client import Client
from comity.client.errors import ConnectionFailed, Problem, Reset
from comity.client.updates import Update, Updates

__all__ = ["Client", "ConnectionFailed", "Problem", "Reset", "Update", "Updates"]
