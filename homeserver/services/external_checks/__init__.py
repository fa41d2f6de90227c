"""External checks: services of the admin's that are asked about events and files.

``docs/external-checks.md`` is the contract; :mod:`.service` asks, the other modules are its parts.
"""
