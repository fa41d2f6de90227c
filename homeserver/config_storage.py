"""``media.s3``: the bucket in which files are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homeserver.durations import in_ms

S3 = "s3"
PREFIX_END = "/"


@dataclass(frozen=True, slots=True)
class S3Config:
    """``media.s3``; ``prefix`` ends with a slash, unless it is empty."""

    endpoint: str | None
    bucket: str | None
    prefix: str
    region: str
    access_key_id: str | None
    secret_access_key: str | None = field(repr=False)
    secret_access_key_file: Path | None
    path_style: bool
    ca_file: Path | None
    timeout_ms: int
    cache_bytes: int


def s3_config(section: Mapping[str, Any], base: Path) -> S3Config:
    """The section as the schema has checked it, the secret read from its file."""
    values = dict(section)
    for name in ("ca_file", "secret_access_key_file"):
        if values[name] is not None:
            values[name] = (base / Path(values[name]).expanduser()).resolve()
    file = values["secret_access_key_file"]
    if file is not None and values["secret_access_key"] is None and file.is_file():
        values["secret_access_key"] = file.read_text("utf-8").strip()
    prefix = values["prefix"].strip(PREFIX_END)
    values["prefix"] = f"{prefix}{PREFIX_END}" if prefix else ""
    return S3Config(**in_ms(values, "timeout"))


def storage_problems(storage: str, config: S3Config) -> Iterator[str]:
    """Values that are possible one by one but not together."""
    if storage == S3 and config.bucket is None:
        yield "media.s3.bucket: missing; media.storage is s3"
    for key, file in (
        ("ca_file", config.ca_file),
        ("secret_access_key_file", config.secret_access_key_file),
    ):
        if file is not None and not file.is_file():
            yield f"media.s3.{key}: found {str(file)!r}; allowed: a file that exists"
    if (config.access_key_id is None) != (config.secret_access_key is None):
        missing = "access_key_id" if config.access_key_id is None else "secret_access_key"
        yield f"media.s3.{missing}: missing; an access key ID and its secret go together"
