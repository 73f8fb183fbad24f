"""What a changed deployment left open goes to its successor, as its sub-ledger did.

The change moves positions in its own transaction; the orders follow here, before the next desk books anything. The
stop therefore stays where it rests, and what fills of the predecessor's orders meanwhile is booked to who holds the
position now.
"""

from collections.abc import Mapping

from apps.execution.desk.core import DeskCore
from apps.execution.states import OPEN
from apps.risk.selectors import deployment_lineage

ORDERS = """
    UPDATE execution_order AS o SET owner = given.heir
    FROM unnest(%(old)s::text[], %(heirs)s::text[]) AS given (owner, heir)
    WHERE o.account_id = %(account)s AND o.owner = given.owner AND o.state = ANY(%(open)s)
    RETURNING o.id
"""


async def hand_over(core: DeskCore) -> None:
    """Learn who took over from whom; from now on every order of a predecessor is its heir's, its open rows too."""
    core.lineage = await core.context.call(deployment_lineage, core.account.id)
    heirs = core.books.heirs = heirs_of(core.lineage)
    if heirs:
        given = {"old": list(heirs), "heirs": list(heirs.values()), "open": [str(state) for state in OPEN]}
        await core.store.query(ORDERS, {"account": core.account.id, **given})


def heirs_of(lineage: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return, for every deployment that was replaced, the newest of its line.

    `lineage` has each key's own and all its predecessors' keys, its own first.
    """
    heirs: dict[str, str] = {}
    for key, line in sorted(lineage.items(), key=lambda item: len(item[1])):
        heirs |= dict.fromkeys(line[1:], key)
    return heirs
