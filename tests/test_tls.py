"""A certificate that is renewed while the server runs."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from homeserver.tls import ListenerCertificate


class Files:
    """A certificate and its key on disk, as a program for renewals writes them."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self.certificate, self.key = directory / "cert.pem", directory / "key.pem"
        self.serial = 0

    def renew(self) -> None:
        """Write new ones."""
        issued = self._authority.issue_cert("matrix.test")
        chain = issued.cert_chain_pems[0].bytes()
        self.serial = x509.load_pem_x509_certificate(chain).serial_number
        self._replace(self.certificate, chain)
        self._replace(self.key, issued.private_key_pem.bytes())

    @staticmethod
    def _replace(path: Path, content: bytes) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.rename(path)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    made.renew()
    return made


@contextlib.asynccontextmanager
async def listening(certificate: ListenerCertificate) -> AsyncIterator[int]:
    """A TLS server with the certificate; its port."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=certificate.context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def presented(port: int) -> int:
    """The serial number of the certificate that a new connection gets."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(shown).serial_number


async def test_a_renewed_certificate_is_presented_without_a_restart(files: Files):
    certificate = ListenerCertificate(files.certificate, files.key)
    async with listening(certificate) as port:
        first, first_shown = files.serial, await presented(port)
        files.renew()

        assert certificate.reload()

        assert first_shown == first
        assert await presented(port) == files.serial != first


async def test_what_cannot_be_used_leaves_the_one_in_use(files: Files):
    certificate = ListenerCertificate(files.certificate, files.key)
    serial, key = files.serial, files.key.read_bytes()
    async with listening(certificate) as port:
        files.renew()
        files.key.write_bytes(key)  # the key of the first, the certificate of the second

        assert not certificate.reload()

        assert await presented(port) == serial


async def test_a_renewal_is_noticed_by_itself(files: Files):
    certificate = ListenerCertificate(files.certificate, files.key)
    watching = asyncio.create_task(certificate.keep_fresh(every_seconds=0.01))
    async with listening(certificate) as port:
        files.certificate.unlink()  # a renewal that has only begun
        await asyncio.sleep(0.05)
        files.renew()

        while await presented(port) != files.serial:
            pass

        assert not watching.done()
    watching.cancel()


def test_files_that_do_not_belong_together_are_refused(files: Files):
    key = files.key.read_bytes()
    files.renew()
    files.key.write_bytes(key)

    with pytest.raises(ssl.SSLError):
        ListenerCertificate(files.certificate, files.key)
