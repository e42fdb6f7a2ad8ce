"""How an engine is told what was asked of it, where the client's own word for it would not do. Pure."""

from __future__ import annotations

from samdrift.spec.fleet import Replica
from samdrift.spec.names import Named


def naming(replica: Replica, named: Named, asked: str) -> str:
    """JSON text without braces in front of a body that asks for `named` under the name `asked`: its own name if it was asked for
    by another (an alias, or a model that it stands in for) and the engine minds, and which adapter it is."""
    own = f'"model":"{named.name}"' if replica.checks_names and asked != named.name else ""
    chosen = next((fields for name, fields in replica.adapters if name == named.name), "")
    return ",".join(filter(None, (own, chosen)))


def lacks(replica: Replica, named: Named) -> bool:
    """Whether this replica has not got the adapter that is asked for."""
    return named.is_adapter and all(name != named.name for name, _ in replica.adapters)

