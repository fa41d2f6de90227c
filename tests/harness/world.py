"""The world of one test run: a network, a PostgreSQL cluster, and servers on both."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .comity import Comity
from .network import Network
from .postgres import PostgresCluster
from .server import Homeserver
from .synapse import Synapse


class World:
    """Everything that has to be taken down again, in one place.

    The directory is removed by `close`, unless `keep` asks for it to stay (for its logs).
    """

    def __init__(self, *, keep: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="comity-world-"))
        self.network = Network(self.directory / "network")
        self.servers: list[Homeserver] = []
        self._clusters: dict[str, PostgresCluster] = {}
        self._keep = keep

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def cluster(self, name: str = "main") -> PostgresCluster:
        """The cluster of that name, started on first use."""
        if name not in self._clusters:
            cluster = PostgresCluster(self.directory / f"postgres-{name}")
            self._clusters[name] = cluster
            cluster.start()
        return self._clusters[name]

    def comity(
        self,
        label: str,
        *,
        cluster: str = "main",
        embedded: bool = False,
        overrides: Mapping[str, Any] | None = None,
    ) -> Comity:
        """A Comity called `label.test`, not started yet.

        `embedded` lets it run its own PostgreSQL; `overrides` go into its config.
        """
        dsn = None if embedded else self.cluster(cluster).create_database(label)
        server = Comity(
            self.network, self.network.add(label), self.directory / label, dsn, overrides
        )
        self.servers.append(server)
        return server

    def synapse(self, label: str, *, cluster: str = "main") -> Synapse:
        """A Synapse called `label.test`, not started yet."""
        dsn = self.cluster(cluster).create_database(label)
        server = Synapse(self.network, self.network.add(label), self.directory / label, dsn)
        self.servers.append(server)
        return server

    def server(self, kind: str, label: str, *, cluster: str = "main") -> Homeserver:
        """A server of the kind `comity` or `synapse`."""
        if kind == "synapse":
            return self.synapse(label, cluster=cluster)
        return self.comity(label, cluster=cluster)

    def close(self) -> None:
        """Kill the servers, stop PostgreSQL, remove the files."""
        for server in self.servers:
            server.kill()
        for cluster in self._clusters.values():
            cluster.stop()
        self.network.close()
        if self._keep:
            print(f"Kept: {self.directory}", flush=True)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)
