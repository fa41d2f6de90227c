"""The moderators' queue, and media that is not served."""

from __future__ import annotations

from aiohttp import web
from msgspec.structs import asdict

from client_api.admin.routing import AdminRoutes, require_admin
from homeserver.app_keys import MODERATION, MODERATION_QUEUE
from homeserver.errors import InvalidParam, NotFound
from homeserver.protocol.events import JsonObject, client_event
from homeserver.services.moderation import DROP, RELEASE, RESOLVE
from homeserver.services.moderation_queue import KINDS, MAX_NOTE_LENGTH, STATES
from homeserver.storage.moderation_queue import QueueItem
from homeserver.web import json_response, optional, query_int, read_json

routes = AdminRoutes()

DEFAULT_LIMIT = 100
LARGEST_LIMIT = 1_000
LARGEST_ID = 2**63 - 1
ACTIONS = (RELEASE, DROP, RESOLVE)


def _json(item: QueueItem) -> JsonObject:
    return {key: value for key, value in asdict(item).items() if value is not None}


def _choice(request: web.Request, key: str, values: tuple[str, ...]) -> str | None:
    value = request.query.get(key)
    if value is not None and value not in values:
        raise InvalidParam(f"'{key}' must be one of {', '.join(values)}")
    return value


def _limit(request: web.Request) -> int:
    return query_int(request, "limit", DEFAULT_LIMIT, least=1, most=LARGEST_LIMIT)


@routes.get("/moderation/queue")
async def get_queue(request: web.Request) -> web.Response:
    """Items without their content, the oldest first: ``kind``, ``state``, ``from``, ``limit``."""
    await require_admin(request)
    limit = _limit(request)
    items = await request.app[MODERATION_QUEUE].page(
        kind=_choice(request, "kind", KINDS),
        state=_choice(request, "state", STATES),
        after=query_int(request, "from", 0),
        limit=limit,
    )
    answer: JsonObject = {"items": [_json(item) for item in items]}
    if len(items) == limit:
        answer["next"] = items[-1].item_id
    return json_response(answer)


@routes.get("/moderation/queue/{item_id:[0-9]+}")
async def get_item(request: web.Request) -> web.Response:
    """One item, with its event as it was sent: nowhere else is a held one to be read."""
    await require_admin(request)
    item, stored = await request.app[MODERATION].item(_item_id(request))
    answer = _json(item)
    if stored is not None:
        answer["event"] = client_event(stored.event)
        answer["redacted"] = stored.redacted_by is not None
    return json_response(answer)


@routes.post("/moderation/queue/{item_id:[0-9]+}/{action:release|drop|resolve}")
async def decide_item(request: web.Request) -> web.Response:
    """Release, drop or resolve an item; ``note``: why."""
    by = await require_admin(request)
    body = await read_json(request, optional=True)
    item = await request.app[MODERATION].decide(
        _item_id(request), request.match_info["action"], by=by, note=_note(body)
    )
    return json_response(_json(item))


@routes.post("/moderation/queue/{action:release|drop|resolve}")
async def decide_many(request: web.Request) -> web.Response:
    """Release, drop or resolve all open items of a ``rule``, a ``sender``, or both."""
    by = await require_admin(request)
    body = await read_json(request)
    decided = await request.app[MODERATION].decide_many(
        request.match_info["action"],
        rule=_name(body, "rule"),
        sender=_name(body, "sender"),
        by=by,
        note=_note(body),
        after=min(max(optional(body, "from", int) or 0, 0), LARGEST_ID),
    )
    answer = asdict(decided)
    if decided.next is None:
        del answer["next"]
    return json_response(answer)


def _item_id(request: web.Request) -> int:
    item_id = int(request.match_info["item_id"][:20])
    if item_id > LARGEST_ID:
        raise NotFound("There is no such item in the queue")
    return item_id


def _name(body: JsonObject, key: str) -> str | None:
    name = optional(body, key, str)
    if name is not None and "\0" in name:
        raise InvalidParam(f"'{key}' has a NUL character")
    return name


def _note(body: JsonObject) -> str | None:
    note = optional(body, "note", str)
    if note is not None and len(note) > MAX_NOTE_LENGTH:
        raise InvalidParam(f"The note may have at most {MAX_NOTE_LENGTH} characters")
    return note


# ---------------------------------------------------------------- media


@routes.get("/moderation/stripped_media")
async def get_stripped_media(request: web.Request) -> web.Response:
    """Media that is not served: ``from``, ``limit``."""
    await require_admin(request)
    limit = _limit(request)
    media = await request.app[MODERATION].stripped(_place(request.query.get("from")), limit)
    answer: JsonObject = {"media": [asdict(one) for one in media]}
    if len(media) == limit:
        last = media[-1]
        answer["next"] = f"{last.created_at}/{last.origin}/{last.media_id}"
    return json_response(answer)


@routes.delete("/moderation/stripped_media/{origin}/{media_id}")
async def lift_stripped_media(request: web.Request) -> web.Response:
    """Serve a file after all; policy does not withhold it again."""
    by = await require_admin(request)
    origin, media_id = request.match_info["origin"], request.match_info["media_id"]
    media = await request.app[MODERATION].lift(origin, media_id, by=by)
    return json_response(asdict(media))


def _place(text: str | None) -> tuple[int, str, str] | None:
    if text is None:
        return None
    parts = text.split("/", 2)
    if len(parts) != 3 or not parts[0].isascii() or not parts[0].isdigit() or "\0" in text:
        raise InvalidParam("'from' is not a token of this list")
    return min(int(parts[0][:20]), LARGEST_ID), parts[1], parts[2]
