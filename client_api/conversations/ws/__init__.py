"""The WebSocket of the Conversations API, ``/api/v1/ws``.

``framing`` is RFC 6455 as pure functions; ``takeover`` takes a connection out of aiohttp's hands;
``socket`` moves frames; ``session`` speaks the API's protocol; ``hub`` knows all sockets.
"""
