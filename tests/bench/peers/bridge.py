"""The bridge itself, in the role of a peer."""

from __future__ import annotations

from tests.bench.peers.peer import Abilities, Peer

BRIDGE = Peer(
    key="bridge",
    name="cdc-bridge",
    package=None,
    abilities=Abilities(joins="yes", orders="yes", signs="yes", retries="yes"),
    capture="bridge",
    worker=None,
    pending="""
select count(distinct reservation_id)
from cdc_bridge.change
where reservation_id not in (select reservation_id from cdc_bridge.delivery where state = 'delivered')
""",
)
