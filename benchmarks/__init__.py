"""Comity beside Synapse: the same load, the same machine, one after the other in one run.

    .venv/bin/python -m benchmarks                   # everything, both servers
    .venv/bin/python -m benchmarks --quick           # a few minutes, rougher
    .venv/bin/python -m benchmarks --only comity     # or --only synapse
    .venv/bin/python -m benchmarks --measure send,startup
    .venv/bin/python -m benchmarks --json out.json   # the figures, for machines

Each kind of server gets a PostgreSQL cluster of its own, from the same binaries with the same
settings (durable: fsync on), and is alone on the machine while it is measured. Synapse is
installed from PyPI on first use and runs as it comes, apart from its rate limits and the cost
of its password hashes. Presence is left out on both (`set_presence=offline`).

The load generator is this process: a client of few instructions (`http`), uvloop and orjson.
Its share of one core is measured and shown, to tell whether it was in the way.

What is measured:

- `send`: 32 senders, each sending as soon as the last one was answered, in 8 rooms of 10
  members, every member in a long-polling `/sync`; then the same rooms at a fixed rate, low
  enough for both kinds to keep up with, so that delivery times are not queueing times.
- `pair`: the same in rooms that span two instances; delivery times are to the other side.
- `size`: one sender, one message after another, in rooms with few and many members, with a
  short and a long history. What is asked is the ratio.
- `connections`: what the open syncs of all members of the large room add to the memory.
- `join`: how long a user of another instance takes to join the large room.
- `process`: memory when idle, and the time from start to the first answer, existing data.
"""
