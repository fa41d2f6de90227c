"""``comity doctor``: what is wrong with this instance, in plain words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from homeserver.cli import config_option
from homeserver.cli.loading import load, with_database
from homeserver.config import Config
from homeserver.errors import MatrixError
from homeserver.storage.database import Database
from homeserver.tls import ListenerCertificate

SOON_SECONDS = 14 * 24 * 3600

Finding = tuple[bool, str]  # whether it is well, and what was found or what to mend


@click.command()
@config_option
def doctor(config_path: Path | None) -> None:
    """Check configuration, database, keys, TLS, DNS and delegation, media, mail, reachability.

    Ends with status 1 if something is to be mended.
    """
    config = load(config_path)
    findings: list[tuple[str, Finding]] = [
        ("configuration", (True, f"good, for {config.server_name}")),
        ("signing key", check_signing_key(config)),
        ("certificate", check_certificate(config)),
        ("database", check_database(config)),
    ]
    findings.extend(asyncio.run(check_from_outside(config)))
    findings.append(("media", check_media(config)))
    findings.append(("mail", asyncio.run(check_mail(config))))
    for subject, (well, text) in findings:
        click.echo(f"{'ok  ' if well else 'MEND'}  {subject}: {text}")
    if not all(well for _, (well, _) in findings):
        raise SystemExit(1)


def check_signing_key(config: Config) -> Finding:
    """Whether there is a key that can sign."""
    from homeserver.app import load_signing_keys
    from homeserver.protocol.signing import BadKey

    path = config.signing_key_file
    if not path.exists():
        return False, f"{path} is not there: 'comity up' makes one; or restore yours"
    try:
        keys = load_signing_keys(config)
    except (BadKey, ValueError) as error:
        return False, f"{path} has no usable key: {error}"
    if path.stat().st_mode & 0o077:
        return False, f"others may read {path}: chmod 600 it"
    return True, f"{keys[0].key_id} signs"


def check_certificate(config: Config) -> Finding:
    """Whether the TLS certificate can be loaded, and is good for some time yet."""
    tls = config.listen.tls
    if tls.certificate is None or tls.key is None:
        return True, (
            f"none: {config.listen.federation} speaks plain HTTP, so a proxy must end TLS in "
            "front of it"
        )
    try:
        ListenerCertificate(tls.certificate, tls.key)
    except OSError as error:
        return False, f"{tls.certificate} and {tls.key} cannot be used together: {error}"
    expires = _expiry(tls.certificate)
    if expires < time.time():
        return False, f"{tls.certificate} has expired: renew it"
    day = time.strftime("%Y-%m-%d", time.gmtime(expires))
    if expires < time.time() + SOON_SECONDS:
        return False, f"{tls.certificate} expires on {day}: renew it"
    return True, f"good until {day}"


def _expiry(certificate: Path) -> float:
    from cryptography import x509

    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    return loaded.not_valid_after_utc.timestamp()


def check_database(config: Config) -> Finding:
    """Whether the database answers, with the schema of this release."""

    async def work(database: Database) -> str:
        version: str = await database.fetchval("SHOW server_version")
        return f"PostgreSQL {version} answers, the schema is this release's"

    try:
        return True, with_database(config, work)
    except Exception as error:  # whatever it is, the admin is told
        where = config.database.dsn or "the embedded PostgreSQL"
        return False, f"{where} cannot be used: {error}"


def check_media(config: Config) -> Finding:
    """Whether files can be written, read and deleted where they are kept."""
    from homeserver.services.media_stores import StorageUnavailable
    from homeserver.wiring.media_storage import media_store

    try:
        return True, media_store(config).check()
    except StorageUnavailable as error:
        s3 = config.media.s3
        where = f"the bucket {s3.bucket} at {s3.endpoint or 'Amazon S3'}"
        return False, f"{where} cannot be used: {error.reason}"


async def check_mail(config: Config) -> Finding:
    """Whether the SMTP server lets this instance in."""
    from homeserver.services.mail import MailFailed
    from homeserver.wiring.mail import make_smtp

    smtp = make_smtp(config)
    if smtp is None:
        return True, "none is sent: email.host is not set"
    try:
        return True, await smtp.check()
    except MailFailed as error:
        where = f"{config.email.host}:{config.email.port}"
        return False, f"{where} cannot be used: {error.reason}"


# ---------------------------------------------------------------- from outside


async def check_from_outside(config: Config) -> list[tuple[str, Finding]]:
    """Find the server by its name as others do, and ask it for its keys."""
    from homeserver.wiring.outside import OutsideView

    async with OutsideView(config) as view:
        found: list[tuple[str, Finding]] = []
        steps: list[tuple[str, Callable[[], Awaitable[str]]]] = [
            ("delegation and DNS", view.where),
            ("reachable by other servers", view.published_key),
        ]
        for subject, step in steps:
            try:
                found.append((subject, (True, await step())))
            except MatrixError as error:
                found.append((subject, (False, error.text)))
        return found
