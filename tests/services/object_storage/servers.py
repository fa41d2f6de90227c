"""S3-compatible storage on a socket of this machine: moto, and versitygw where it is installed.

versitygw (``go install github.com/versity/versitygw/cmd/versitygw@latest``) checks signatures and
what else moto lets pass.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.config import Config

from homeserver.services.object_storage.bucket import BucketSettings
from tests.harness.ports import free_port

KEY_ID, SECRET = "comity-key", "comity-secret-0123456789"
START_SECONDS = 60.0
NAMES = ["moto", *(["versitygw"] if shutil.which("versitygw") else [])]


class ObjectStorage:
    """A server, and its own view of a bucket: by Amazon's client, not ours."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}),
        )
        self.buckets = 0

    def new_bucket(self) -> BucketSettings:
        """An empty bucket."""
        self.buckets += 1
        name = f"media-{self.buckets}"
        self.client.create_bucket(Bucket=name)
        return BucketSettings(
            name, self.endpoint, access_key_id=KEY_ID, secret_access_key=SECRET, timeout_ms=20_000
        )

    def objects(self, bucket: str) -> dict[str, bytes]:
        """All that is in a bucket."""
        found = self.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return {
            entry["Key"]: self.client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            for entry in found
        }


@contextmanager
def running(name: str, directory: Path, port: int | None = None) -> Iterator[ObjectStorage]:
    """A server that runs for a while; its data may be there from before."""
    port = port or free_port()
    environ = {**os.environ, "ROOT_ACCESS_KEY": KEY_ID, "ROOT_SECRET_KEY": SECRET}
    if name == "moto":
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    else:
        directory.mkdir(parents=True, exist_ok=True)
        command = ["versitygw", "--port", f"127.0.0.1:{port}", "posix", str(directory)]
    process = subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait_for(endpoint, process)
        yield ObjectStorage(endpoint)
    finally:
        process.terminate()
        process.wait()


def _wait_for(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while process.poll() is None and time.monotonic() < deadline:
        try:
            opener.open(endpoint, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the storage did not start")
