"""Resumable uploads by other people's tus clients: tuspy (Python) and tus-js-client (node)."""

import asyncio
import json
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed

from tests.harness import Homeserver, RawClient, World

NODE_SECONDS = 90.0
HERE = Path(__file__).parent
CONTENT = random.Random(11).randbytes(3_000_000)
PROGRAM = b"\x7fELF" + bytes(2_000_000)
RULE = {
    "name": "programs",
    "match": {"mime_type": "application/x-executable"},
    "action": "reject",
    "message": "No programs here.",
}


@dataclass
class Stage:
    """A server, somebody on it, and files."""

    server: Homeserver
    token: str
    film: Path
    program: Path

    @property
    def endpoint(self) -> str:
        """Where uploads begin."""
        return f"{self.server.client_url}/api/v1/uploads"

    async def get(self, path: str) -> Any:
        """A GET of the API."""
        async with aiohttp.ClientSession() as session:
            url = f"{self.server.client_url}/api/v1{path}"
            headers = {"Authorization": f"Bearer {self.token}"}
            async with session.get(url, headers=headers) as response:
                assert response.status == 200, await response.text()
                if response.content_type == "application/json":
                    return await response.json()
                return await response.read()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A server that takes no programs."""
    directory = tmp_path_factory.mktemp("tus")
    film, program = directory / "film.mp4", directory / "program"
    film.write_bytes(CONTENT)
    program.write_bytes(PROGRAM)
    with World() as world:
        server = world.comity("tus", overrides={"policy": {"rules": [RULE]}})
        await server.start_async()
        async with aiohttp.ClientSession() as session:
            alice = RawClient(session, server.client_url)
            await alice.register("alice")
            yield Stage(server, alice.access_token, film, program)


# ---------------------------------------------------------------- tuspy


def uploader(stage: Stage, path: Path, **options: Any) -> Any:
    """tuspy's uploader of a file."""
    client = TusClient(stage.endpoint, headers={"Authorization": f"Bearer {stage.token}"})
    options = {"chunk_size": 400_000, "metadata": {"filename": "film.mp4"}, **options}
    return client.uploader(str(path), **options)


@pytest.mark.parametrize("checked", [True, False])
async def test_tuspy_uploads_and_goes_on_after_a_kill(stage: Stage, checked: bool) -> None:
    first = uploader(stage, stage.film, upload_checksum=checked)
    await asyncio.to_thread(first.upload, 1_200_000)

    await stage.server.kill_async()
    await stage.server.start_async()

    second = uploader(stage, stage.film, upload_checksum=checked, url=first.url)
    assert second.offset == 1_200_000
    await asyncio.to_thread(second.upload)
    told = await stage.get("/uploads/" + first.url.rpartition("/")[2])
    assert told["state"] == "done"
    assert await stage.get(f"/media/{told['media']['id']}/content") == CONTENT
    assert told["media"]["name"] == "film.mp4"


async def test_tuspy_learns_that_policy_refuses(stage: Stage) -> None:
    refused = uploader(stage, stage.program)

    with pytest.raises(TusUploadFailed) as failure:
        await asyncio.to_thread(refused.upload)

    assert failure.value.status_code == 403
    assert json.loads(failure.value.response_content)["code"] == "policy_refused"


# ---------------------------------------------------------------- tus-js-client


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The script beside its packages."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not here")
    directory = tmp_path_factory.mktemp("node")
    for name in ("package.json", "upload.mjs"):
        shutil.copy(HERE / "tus" / name, directory)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=directory, check=True)
    yield directory / "upload.mjs"


async def in_node(stage: Stage, node: Path, path: Path, **options: Any) -> Any:
    """What tus-js-client says of an upload."""
    process = await asyncio.create_subprocess_exec(
        "node",
        str(node),
        stage.endpoint,
        stage.token,
        str(path),
        json.dumps(options),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), NODE_SECONDS)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode == 0
    return json.loads(output)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"uploadDataDuringCreation": True},
        {"chunkSize": 10_000_000},
        {"uploadLengthDeferred": True, "chunkSize": 290_000},
        {"parallelUploads": 3},
        {"overridePatchMethod": True},
    ],
)
async def test_tus_js_client_uploads(stage: Stage, node: Path, options: dict[str, Any]) -> None:
    told = await in_node(stage, node, stage.film, **options)

    assert told["state"] == "done", told
    upload = await stage.get("/uploads/" + told["url"].rpartition("/")[2])
    assert upload["media"]["id"] == told["mediaId"]
    assert upload["media"]["mime_type"] == "video/mp4"
    assert await stage.get(f"/media/{told['mediaId']}/content") == CONTENT


async def test_tus_js_client_goes_on_with_an_upload(stage: Stage, node: Path) -> None:
    paused = await in_node(stage, node, stage.film, pauseAt=1_000_000)
    offset = (await stage.get("/uploads/" + paused["url"].rpartition("/")[2]))["offset"]

    told = await in_node(stage, node, stage.film, uploadUrl=paused["url"])

    assert 0 < offset < len(CONTENT)
    assert told["state"] == "done", told
    assert await stage.get(f"/media/{told['mediaId']}/content") == CONTENT


async def test_tus_js_client_bears_a_kill_in_the_middle(stage: Stage, node: Path) -> None:
    upload = asyncio.create_task(in_node(stage, node, stage.film, chunkSize=50_000))
    for _ in range(3):
        await asyncio.sleep(0.4)
        await stage.server.kill_async()
        await stage.server.start_async()

    told = await upload

    assert told["state"] == "done", told
    assert await stage.get(f"/media/{told['mediaId']}/content") == CONTENT


async def test_tus_js_client_learns_that_policy_refuses(stage: Stage, node: Path) -> None:
    told = await in_node(stage, node, stage.program)

    assert (told["state"], told["status"]) == ("failed", 403)
    assert json.loads(told["body"])["code"] == "policy_refused"
