"""Names, addresses, ports and certificates of the servers under test.

Every server `label` of a network is called `label.test`. The name exists nowhere but in the
servers' own resolvers: Comity gets it as a private zone, Synapse through `synapse_launcher`.
It answers an address of 127.0.0.0/8 that this network has to itself, and port 443 of that
address answers `/.well-known/matrix/server`, as a web host in front of a homeserver would:
`one.test` is delegated to `matrix.one.test:PORT`. The certificate of the federation listener
is good for `matrix.one.test` alone, so a server that skips discovery, or that verifies the
wrong name, does not get through.

Port 443 takes root (or CAP_NET_BIND_SERVICE). Without it the servers fall back to names of
the form `localhost:PORT`, for which discovery is not asked; `Network.has_names` tells.
"""

import json
import random
import socket
import socketserver
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import trustme

from .ports import free_port

ZONE = "test"
HTTPS_PORT = 443


@dataclass(frozen=True)
class Identity:
    """Where one server lives, and what it proves it with.

    `delegation` is what `/.well-known/matrix/server` says of it.
    """

    label: str
    server_name: str
    delegation: str
    address: str
    client_port: int
    federation_port: int
    certificate: Path
    key: Path

    @property
    def client_url(self) -> str:
        """The base URL for clients: plain HTTP."""
        return f"http://{self.address}:{self.client_port}"


class _WellKnownServer(socketserver.ThreadingTCPServer):
    """An HTTPS server that answers the delegation of whichever name it is asked for."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: str) -> None:
        self.delegations: dict[str, str] = {}
        self.contexts: dict[str, ssl.SSLContext] = {}
        self.requests: list[str] = []
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.sni_callback = self._choose_certificate
        super().__init__((address, HTTPS_PORT), _WellKnownHandler)

    def _choose_certificate(
        self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> None:
        if name in self.contexts:
            connection.context = self.contexts[name]

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection; its handshake is left to the thread that serves it."""
        connection, peer = super().get_request()
        connection.settimeout(10)
        secure = self._context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )
        return secure, peer

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that goes away in the middle is no concern of the tests."""


class _WellKnownHandler(BaseHTTPRequestHandler):
    server: _WellKnownServer

    def do_GET(self) -> None:
        name = self.headers.get("Host", "").removesuffix(f":{HTTPS_PORT}")
        delegation = self.server.delegations.get(name)
        self.server.requests.append(name)
        found = self.path == "/.well-known/matrix/server" and delegation is not None
        body = json.dumps({"m.server": delegation} if found else {}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


class Network:
    """A set of servers that can find and trust each other, and nobody else."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.authority = trustme.CA()
        self.authority_file = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.authority_file))
        self._ports: set[int] = set()
        self._web: _WellKnownServer | None = None
        self.address = self._take_address()

    @property
    def has_names(self) -> bool:
        """Whether the servers have names and `.well-known`, or are all `localhost:PORT`."""
        return self._web is not None

    def well_known_requests(self, server_name: str) -> int:
        """How often `.well-known` was asked for a server."""
        return self._web.requests.count(server_name) if self._web else 0

    def add(self, label: str) -> Identity:
        """Give a new server its name, ports and certificate."""
        client_port, federation_port = self._free_port(), self._free_port()
        if self._web:
            server_name = f"{label}.{ZONE}"
            host = f"matrix.{server_name}"
            self._web.delegations[server_name] = f"{host}:{federation_port}"
            web_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            web_context.load_cert_chain(*self._issue(f"{label}-web", server_name))
            self._web.contexts[server_name] = web_context
        else:
            host = "localhost"
            server_name = f"{host}:{federation_port}"
        certificate, key = self._issue(label, host)
        return Identity(
            label,
            server_name,
            f"{host}:{federation_port}",
            self.address,
            client_port,
            federation_port,
            certificate,
            key,
        )

    def close(self) -> None:
        """Stop answering."""
        if self._web:
            self._web.shutdown()
            self._web.server_close()

    def _issue(self, label: str, *hosts: str) -> tuple[Path, Path]:
        issued = self.authority.issue_cert(*hosts)
        certificate = self.directory / f"{label}.crt"
        key = self.directory / f"{label}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key

    def _take_address(self) -> str:
        for _ in range(20):
            address = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.1"
            try:
                self._web = _WellKnownServer(address)
            except PermissionError:
                break
            except OSError:
                continue
            threading.Thread(target=self._web.serve_forever, daemon=True).start()
            return address
        return "127.0.0.1"

    def _free_port(self) -> int:
        while True:
            port = free_port(self.address)
            if port not in self._ports:
                self._ports.add(port)
                return port
