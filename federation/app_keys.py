"""The parts of federation, by the key under which a handler finds each."""

from __future__ import annotations

from aiohttp import web

from federation.comity import ComityPeers
from federation.gate import Gate
from federation.handshakes import Handshakes
from federation.history import History
from federation.joining import Joining
from federation.notary import Notary
from federation.policy_signing import PolicySigning
from federation.third_party import ThirdPartyBinding

COMITY_PEERS = web.AppKey("COMITY_PEERS", ComityPeers)
GATE = web.AppKey("GATE", Gate)
HANDSHAKES = web.AppKey("HANDSHAKES", Handshakes)
HISTORY = web.AppKey("HISTORY", History)
JOINING = web.AppKey("JOINING", Joining)
NOTARY = web.AppKey("NOTARY", Notary)
POLICY_SIGNING = web.AppKey("POLICY_SIGNING", PolicySigning)
THIRD_PARTY_BINDING = web.AppKey("THIRD_PARTY_BINDING", ThirdPartyBinding)
