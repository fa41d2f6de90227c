"""Webhooks: applications are told what happens, by requests to an address of theirs.

:mod:`.following` goes along the log and queues what somebody wants to know; :mod:`.sending` makes
one request; :mod:`.delivering` works a webhook's queue off; :mod:`.service` is what owners do with
their webhooks.  ``docs/api/webhooks.md`` is the contract.
"""
