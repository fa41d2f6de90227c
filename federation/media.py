"""Media of other instances.  Spec: server-server API, content repository."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
from aiohttp import hdrs
from aiohttp.multipart import (
    BodyPartReader,
    MultipartReader,
    content_disposition_filename,
    parse_content_disposition,
)
from msgspec import Struct
from multidict import CIMultiDictProxy

from federation.client import FederationClient
from federation.connections import Connections
from federation.errors import FederationFailure, PeerError
from federation.paths import path_of
from homeserver.errors import MatrixError, NotFound, PeerFailed
from homeserver.protocol.urls import to_url
from homeserver.services.media import NotYetUploaded, RemoteTooLarge

CHUNK_BYTES = 65_536
MAX_METADATA_BYTES = 65_536
EXTRA_SECONDS = 10.0  # beyond what the other side waits for an upload
REDIRECT_TIMEOUT = aiohttp.ClientTimeout(total=600.0, sock_connect=10.0, sock_read=30.0)


class OpenFile(Struct, frozen=True):
    """A file on its way.  Implements :class:`homeserver.services.media.RemoteFile`."""

    content_type: str | None
    upload_name: str | None
    chunks: AsyncIterator[bytes]


class RemoteMediaClient:
    """Implements :class:`homeserver.services.media.RemoteMedia`."""

    def __init__(self, client: FederationClient, connections: Connections) -> None:
        self._client = client
        self._connections = connections

    @asynccontextmanager
    async def download(
        self, origin: str, media_id: str, timeout_ms: int
    ) -> AsyncIterator[OpenFile]:
        """Open a file of another instance.  Raises :class:`MatrixError`.

        Spec: "servers MUST try the endpoints described below before falling back to the
        deprecated /_matrix/media/* endpoints when they receive a 404 M_UNRECOGNIZED error".
        """
        try:
            async with AsyncExitStack() as stack:
                try:
                    file = await stack.enter_async_context(self._open(origin, media_id, timeout_ms))
                except PeerError as error:
                    if error.errcode != "M_UNRECOGNIZED":
                        raise
                    file = await stack.enter_async_context(
                        self._open_legacy(origin, media_id, timeout_ms)
                    )
                yield file
        except FederationFailure as failure:
            raise _matrix_error(failure) from failure
        except (aiohttp.ClientError, ValueError) as error:
            raise PeerFailed(f"{origin} sent the file malformed") from error

    @asynccontextmanager
    async def _open(self, origin: str, media_id: str, timeout_ms: int) -> AsyncIterator[OpenFile]:
        async with self._client.stream(
            origin,
            path_of("v1/media/download", media_id),
            query={"timeout_ms": str(timeout_ms)},
            timeout_seconds=timeout_ms / 1000 + EXTRA_SECONDS,
        ) as response:
            part = await _second_part(response)
            location = part.headers.get(hdrs.LOCATION)
            if location is None:
                yield _file(part.headers, _part_chunks(part))
                return
            async with self._follow(location) as redirected:
                yield redirected

    @asynccontextmanager
    async def _follow(self, location: str) -> AsyncIterator[OpenFile]:
        """Where the other instance says that the file lies: over TLS, and no further redirect."""
        url = to_url(location)
        if url.scheme != "https":
            raise ValueError("The file's location is no https URL")
        async with self._connections.session.get(
            url, allow_redirects=False, timeout=REDIRECT_TIMEOUT
        ) as response:
            if response.status != 200:
                raise PeerFailed("The file is not where the other server says it is")
            yield _file(response.headers, response.content.iter_chunked(CHUNK_BYTES))

    @asynccontextmanager
    async def _open_legacy(
        self, origin: str, media_id: str, timeout_ms: int
    ) -> AsyncIterator[OpenFile]:
        async with self._client.stream(
            origin,
            f"/_matrix/media/v3/download/{origin}/{media_id}",
            query={"allow_remote": "false", "timeout_ms": str(timeout_ms)},
            timeout_seconds=timeout_ms / 1000 + EXTRA_SECONDS,
            sign=False,
        ) as response:
            yield _file(response.headers, response.content.iter_chunked(CHUNK_BYTES))


async def _second_part(response: aiohttp.ClientResponse) -> BodyPartReader:
    """The file's part, once the metadata before it is read.  Raises :class:`ValueError`."""
    if not response.content_type.startswith("multipart/"):
        raise ValueError("The answer has no parts")
    reader = MultipartReader.from_response(response)
    metadata = await reader.next()
    if not isinstance(metadata, BodyPartReader):
        raise ValueError("The answer has no metadata")
    size = 0
    while chunk := await metadata.read_chunk(CHUNK_BYTES):
        size += len(chunk)
        if size > MAX_METADATA_BYTES:
            raise ValueError("The metadata is too long")
    part = await reader.next()
    if not isinstance(part, BodyPartReader):
        raise ValueError("The answer has no file")
    return part


async def _part_chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(CHUNK_BYTES):
        yield chunk


def _file(headers: CIMultiDictProxy[str], chunks: AsyncIterator[bytes]) -> OpenFile:
    disposition = headers.get(hdrs.CONTENT_DISPOSITION)
    _, parameters = parse_content_disposition(disposition) if disposition else (None, {})
    return OpenFile(
        headers.get(hdrs.CONTENT_TYPE),
        content_disposition_filename(parameters, "filename"),
        chunks,
    )


def _matrix_error(failure: FederationFailure) -> MatrixError:
    if isinstance(failure, PeerError):
        if failure.errcode == "M_NOT_YET_UPLOADED":
            return NotYetUploaded("The content has not been uploaded yet")
        if failure.errcode == "M_TOO_LARGE":
            return RemoteTooLarge("The other server's file is too large")
        if failure.status == 404:
            return NotFound("The other server has no such media")
    return failure.to_matrix_error()
