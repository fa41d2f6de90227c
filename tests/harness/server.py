"""What a Comity and a Synapse have in common: a process that is started, killed, measured."""

import asyncio
import http.client
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from .network import Identity

PROBE_SECONDS = 0.02
STOP_SECONDS = 20.0


class ServerDied(RuntimeError):
    """A server did not start, or did not stop; the end of its log is in the message."""


class Homeserver(ABC):
    """A homeserver in a process (and a process group) of its own."""

    kind: str
    start_seconds = 60.0

    def __init__(self, identity: Identity, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.identity = identity
        self.directory = directory
        self.log_file = directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """The command line."""

    def environment(self) -> Mapping[str, str]:
        """What is added to the environment of the process."""
        return {}

    def __repr__(self) -> str:
        return f"{self.kind}({self.server_name})"

    @property
    def server_name(self) -> str:
        """The part of its user IDs after the colon."""
        return self.identity.server_name

    @property
    def client_url(self) -> str:
        """The base URL for clients."""
        return self.identity.client_url

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> float:
        """Start it, wait for its first answer, and return how many seconds that took."""
        if self.is_running:
            raise ServerDied(f"{self} is already running")
        # As its users start it: with the modules compiled before.
        unwanted = "PYTHONDONTWRITEBYTECODE"
        inherited = {name: value for name, value in os.environ.items() if name != unwanted}
        with self.log_file.open("ab") as log:
            started = time.monotonic()
            self._process = subprocess.Popen(
                [str(part) for part in self.command()],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**inherited, **self.environment()},
                start_new_session=True,
            )
        while not self._answers():
            if not self.is_running:
                raise ServerDied(f"{self} ended while starting:\n{self.log_tail()}")
            if time.monotonic() - started > self.start_seconds:
                self.kill()
                raise ServerDied(f"{self} did not get ready:\n{self.log_tail()}")
            time.sleep(PROBE_SECONDS)
        return time.monotonic() - started

    def stop(self) -> None:
        """Ask it to stop (SIGTERM) and wait."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerDied(f"{self} did not stop on SIGTERM:\n{self.log_tail()}") from None
        self._process = None

    def kill(self) -> None:
        """Kill it (SIGKILL), with whatever it has in its process group."""
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    async def start_async(self) -> float:
        """`start`, for use beside clients that must go on running."""
        return await asyncio.to_thread(self.start)

    async def stop_async(self) -> None:
        """`stop`, for use beside clients that must go on running."""
        await asyncio.to_thread(self.stop)

    async def kill_async(self) -> None:
        """`kill`, for use beside clients that must go on running."""
        await asyncio.to_thread(self.kill)

    def resident_bytes(self) -> int:
        """Memory of the process and its children, without PostgreSQL."""
        if self._process is None:
            return 0
        return _resident_bytes(self._process.pid)

    def cpu_seconds(self) -> float:
        """Processor time that the process has used, without its children and PostgreSQL."""
        if self._process is None:
            return 0.0
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log_tail(self, characters: int = 4000) -> str:
        """The end of what it printed."""
        if not self.log_file.exists():
            return ""
        return self.log_file.read_text(errors="replace")[-characters:]

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(
            self.identity.address, self.identity.client_port, timeout=2
        )
        try:
            connection.request("GET", "/_matrix/client/versions")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _resident_bytes(pid: int) -> int:
    process = Path(f"/proc/{pid}")
    if (process / "comm").read_text().startswith("postgres"):
        return 0
    resident_pages = int((process / "statm").read_text().split()[1])
    children = " ".join(task.read_text() for task in process.glob("task/*/children"))
    own_bytes = resident_pages * os.sysconf("SC_PAGE_SIZE")
    return own_bytes + sum(_resident_bytes(int(child)) for child in children.split())
