"""The name and the picture of a profile, on the account page.

Spec: client-server API, account management URL actions (``org.matrix.profile``).
"""

from __future__ import annotations

import html
from collections.abc import AsyncIterator

from aiohttp import BodyPartReader, hdrs, web
from aiohttp.http import HttpProcessingError

from client_api.media_access import check_length, find_media, thumbnail_answer
from client_api.oauth import visits
from client_api.oauth.account import BACK, CONTACTS, PROFILE
from client_api.oauth.visits import Visit
from client_api.web import plain_page
from homeserver.app_keys import ACCOUNT_STANDING, BROWSERS, MEDIA, PROFILES, RATE_LIMITS
from homeserver.errors import InvalidParam, MatrixError, NotFound
from homeserver.protocol.media_uris import parse_media_uri
from homeserver.services.profiles import AVATAR_URL, DISPLAY_NAME
from homeserver.services.requester import Requester
from homeserver.services.thumbnails import ThumbnailSpec

routes = web.RouteTableDef()

PICTURE, NO_PICTURE = visits.path_of("picture"), visits.path_of("no-picture")
KINDS = ("image/png", "image/jpeg", "image/gif", "image/webp")
SIZE = ThumbnailSpec.parse(96, 96, "crop", False)
CHUNK_BYTES = 65_536
BROKEN = (ValueError, AssertionError, HttpProcessingError)  # of aiohttp: not a form with a file
FORM = """{notice}
<form method="post" action="{profile}">
{token}
<div class="field">
<label for="name">Your name</label>
<input id="name" name="name" value="{name}" maxlength="256" autocomplete="name"
  aria-describedby="name-hint">
<p class="hint" id="name-hint">What others see beside <bdi>{user}</bdi>.</p>
</div>
<button>Save</button>
</form>
<h2>Your picture</h2>
{shown}
<form method="post" action="{picture}" enctype="multipart/form-data">
{token}
<div class="field">
<label for="picture">A new one (PNG, JPEG, GIF or WebP)</label>
<input id="picture" name="picture" type="file" accept="{kinds}" required>
</div>
<button>Take this picture</button>
</form>
<p><a href="{contacts}">Your e-mail addresses</a></p>
{back}"""
SHOWN = """<p><img src="{picture}?{version}" alt="Your picture" width="96" height="96"></p>
<form method="post" action="{no_picture}" class="removal">
{token}
<button>Take the picture away</button>
</form>"""
SAVED = plain_page.STATUS.format(text="Saved.")


async def _form(visit: Visit, notice: str = "", status: int = 200) -> web.Response:
    profile = await visit.request.app[PROFILES].get_local(visit.user_id)
    token = visit.form_token()
    uri = parse_media_uri(profile.get(AVATAR_URL))
    shown = ""
    if uri is not None:
        shown = SHOWN.format(
            picture=PICTURE, version=html.escape(uri.media_id), no_picture=NO_PICTURE, token=token
        )
    content = FORM.format(
        notice=notice,
        token=token,
        profile=PROFILE,
        name=html.escape(str(profile.get(DISPLAY_NAME) or "")),
        user=html.escape(visit.user_id),
        shown=shown,
        picture=PICTURE,
        kinds=",".join(KINDS),
        contacts=CONTACTS,
        back=BACK,
    )
    return visits.page(visit, "Profile", content, status=status)


@routes.get(PROFILE)
@visits.pages
async def show_profile(request: web.Request) -> web.StreamResponse:
    """What others see."""
    return await _form(await visits.require_session(request))


@routes.post(PROFILE)
@visits.pages
async def save_name(request: web.Request) -> web.StreamResponse:
    """Change the display name; an empty one is none."""
    visit = await visits.require_session(request)
    name = (await visits.read_form(visit)).get("name", "").strip()
    return await _change(visit, DISPLAY_NAME, name)


async def _change(visit: Visit, field: str, value: str) -> web.Response:
    profiles = visit.request.app[PROFILES]
    try:
        _check_active(visit)
        if value:
            await profiles.set_field(visit.user_id, field, value)
        else:
            await profiles.delete_field(visit.user_id, field)
    except MatrixError as error:
        return await _form(visit, plain_page.alert(error.text), error.status)
    return await _form(visit, SAVED)


def _check_active(visit: Visit) -> None:
    app = visit.request.app
    app[ACCOUNT_STANDING].require_active(visit.user_id)
    app[RATE_LIMITS].check("profile", visit.user_id)


# ---------------------------------------------------------------- the picture


@routes.get(PICTURE)
@visits.pages
async def show_picture(request: web.Request) -> web.StreamResponse:
    """One's own picture, for a browser that has a cookie and no access token."""
    visit = await visits.require_session(request)
    profile = await request.app[PROFILES].get_local(visit.user_id)
    uri = parse_media_uri(profile.get(AVATAR_URL))
    if uri is None:
        raise NotFound("You have no picture")
    media = await find_media(request.app, Requester(visit.user_id, None), uri, whole=False)
    return await thumbnail_answer(request, media, SIZE)


@routes.post(PICTURE)
@visits.pages
async def save_picture(request: web.Request) -> web.StreamResponse:
    """Take another picture."""
    visit = await visits.require_session(request)
    try:
        request.app[MEDIA].limits.admit(visit.user_id)
        await check_length(request, visit.user_id)
        media_id = await _receive(visit)
    except MatrixError as error:
        return await _form(visit, plain_page.alert(error.text), error.status)
    return await _change(visit, AVATAR_URL, f"mxc://{request.app[MEDIA].server_name}/{media_id}")


@routes.post(NO_PICTURE)
@visits.pages
async def remove_picture(request: web.Request) -> web.StreamResponse:
    """Take the picture away."""
    visit = await visits.require_session(request)
    await visits.read_form(visit)
    return await _change(visit, AVATAR_URL, "")


async def _receive(visit: Visit) -> str:
    """Store the file of a form; its media ID.  The form's token comes before the file."""
    request = visit.request
    if request.content_type != "multipart/form-data":
        raise InvalidParam("That is no form of this page")
    try:
        reader = await request.multipart()
        token = await reader.next()
        text = await token.read_chunk() if isinstance(token, BodyPartReader) else b""
        cookie = None if visit.fresh else visit.cookie
        request.app[BROWSERS].check_form(cookie, bytes(text).decode("utf-8", "replace"))
        file = await reader.next()
    except BROKEN as error:
        raise InvalidParam("That is no form of this page") from error
    if not isinstance(file, BodyPartReader) or file.name != "picture" or not file.filename:
        raise InvalidParam("Choose a picture")
    kind = file.headers.get(hdrs.CONTENT_TYPE, "")
    if kind not in KINDS:
        raise InvalidParam("A picture is a PNG, JPEG, GIF or WebP file")
    _check_active(visit)
    return await request.app[MEDIA].upload(visit.user_id, _chunks(file), kind, None)


async def _chunks(file: BodyPartReader) -> AsyncIterator[bytes]:
    try:
        while chunk := await file.read_chunk(CHUNK_BYTES):
            yield bytes(chunk)
    except BROKEN as error:
        raise InvalidParam("The file broke off") from error
