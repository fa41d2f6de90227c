"""Objects go into a bucket and come out, and what is wrong is said plainly and soon."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeserver.services.media_stores import StorageUnavailable
from homeserver.services.object_storage.bucket import (
    AWAY_SECONDS,
    FAILURES,
    PART_BYTES,
    Bucket,
    BucketSettings,
    explain,
)
from tests.harness.ports import free_port

from .servers import NAMES, SECRET, ObjectStorage

CONTENT = random.Random(1).randbytes(1000)


def test_what_was_put_is_there_and_its_ranges_come_out(settings: BucketSettings) -> None:
    bucket = Bucket(settings)

    bucket.put("a/b", CONTENT)

    assert bucket.exists("a/b")
    part = bucket.get("a/b", 100, 200)
    assert (part.content, part.size) == (CONTENT[100:200], 1000)
    assert bucket.get("a/b", 900, 5000).content == CONTENT[900:]


def test_an_empty_object_can_be_read(settings: BucketSettings) -> None:
    bucket = Bucket(settings)

    bucket.put("empty", b"")

    assert bucket.get("empty", 0, 100).size == 0


def test_a_large_file_goes_in_parts(
    settings: BucketSettings, storage: ObjectStorage, tmp_path: Path
) -> None:
    content = random.Random(2).randbytes(2 * PART_BYTES + 17)
    (tmp_path / "large").write_bytes(content)

    Bucket(settings).put("large", tmp_path / "large")

    assert storage.objects(settings.bucket) == {"large": content}
    assert "-3" in storage.client.head_object(Bucket=settings.bucket, Key="large")["ETag"]


def test_what_is_not_there_is_not_found(settings: BucketSettings) -> None:
    bucket = Bucket(settings)

    assert not bucket.exists("none")
    assert bucket.list("none") == []
    bucket.delete(["none"])
    with pytest.raises(FileNotFoundError):
        bucket.get("none", 0, 10)


def test_a_directory_is_listed_and_deleted(
    settings: BucketSettings, storage: ObjectStorage
) -> None:
    bucket = Bucket(settings)
    for name in ("a/1", "a/b/2", "ab"):
        bucket.put(name, name.encode())

    names = bucket.list("a")
    bucket.delete(names)

    assert sorted(names) == ["a/1", "a/b/2"]
    assert storage.objects(settings.bucket) == {"ab": b"ab"}


def test_an_object_that_became_another_one_is_not_read_on(settings: BucketSettings) -> None:
    bucket = Bucket(settings)
    bucket.put("a", CONTENT)
    tag = bucket.get("a", 0, 10).tag

    bucket.put("a", CONTENT[::-1])

    with pytest.raises(StorageUnavailable):
        bucket.get("a", 10, 20, tag)


def test_a_check_leaves_nothing(settings: BucketSettings, storage: ObjectStorage) -> None:
    Bucket(settings).check("media/")

    assert storage.objects(settings.bucket) == {}


def test_a_bucket_that_is_not_there_is_named_as_that(settings: BucketSettings) -> None:
    bucket = Bucket(replace(settings, bucket="nonesuch"))

    for ask in (lambda: bucket.check(""), lambda: bucket.get("a", 0, 1), lambda: bucket.list("a")):
        with pytest.raises(StorageUnavailable) as caught:
            ask()
        assert caught.value.reason.startswith("there is no such bucket")


@pytest.mark.skipif("versitygw" not in NAMES, reason="moto lets everybody in")
@pytest.mark.parametrize("storage", ["versitygw"], indirect=True)
def test_a_wrong_secret_is_named_and_not_shown(storage: ObjectStorage) -> None:
    settings = replace(storage.new_bucket(), secret_access_key="wrong-secret")

    with pytest.raises(StorageUnavailable) as caught:
        Bucket(settings).check("")

    assert caught.value.reason.startswith("the secret access key is not the right one")
    assert "wrong-secret" not in repr(settings)


def test_keys_of_the_environment_do_not_mix_with_configured_ones(
    settings: BucketSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of somebody else")

    Bucket(settings).check("")


def test_without_any_key_that_is_what_is_said() -> None:
    error = OSError("Error performing PUT http://169.254.169.254/latest/api/token in 2.1ms")

    assert explain(error).startswith("no access key is configured")


def test_no_secret_is_in_a_log(
    settings: BucketSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StorageUnavailable):
        Bucket(replace(settings, bucket="nonesuch")).put("a", b"1")

    printed = capsys.readouterr()
    assert "object storage failed" in printed.out
    assert SECRET not in printed.out + printed.err


class Now:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def silent() -> Iterator[str]:
    """Somebody who lets one in and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_storage_that_does_not_answer_is_given_up(silent: str) -> None:
    settings = BucketSettings("b", silent, access_key_id="a", secret_access_key="b", timeout_ms=300)
    bucket = Bucket(settings)

    asks: list[Any] = [
        lambda: bucket.get("a", 0, 1),
        lambda: bucket.put("a", b"1"),
        lambda: bucket.delete(["a"]),
    ]
    for ask in asks:
        with pytest.raises(StorageUnavailable, match="try again later") as caught:
            ask()
        assert caught.value.reason == "it did not answer in time"


def test_a_storage_that_is_away_is_not_asked_for_a_while() -> None:
    now = Now()
    settings = BucketSettings(
        "b", f"http://127.0.0.1:{free_port()}", access_key_id="a", secret_access_key="b"
    )
    bucket = Bucket(settings, now)

    def reason() -> str:
        with pytest.raises(StorageUnavailable) as caught:
            bucket.exists("a")
        return caught.value.reason

    for _ in range(FAILURES):
        assert reason() == "it cannot be connected to"
    assert reason() == "it did not answer a moment ago"
    now.seconds += AWAY_SECONDS
    assert reason() == "it cannot be connected to"
