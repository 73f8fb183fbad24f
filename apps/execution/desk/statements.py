"""The SQL of the order path: several tables in one statement, so that an order costs one commit.

Rows travel as one JSON document a table (amounts as text, times as microseconds). `held` counts the lease row
with our fence; dividing by it fails the whole statement when another desk has taken over.
"""

from functools import lru_cache

from apps.common import outbox

MOMENT = "timestamptz 'epoch' + {0} * interval '1 microsecond'"


def _at(column: str) -> str:
    return MOMENT.format(column)


HELD = """held AS (
    SELECT count(*) AS n FROM common_lease WHERE kind = 'desk' AND key = %(lease_key)s AND fence = %(fence)s
)"""

DECISIONS = f"""decisions AS (
    INSERT INTO strategies_decision (id, deployment_id, instrument_id, bar_open, bar_revision, market_at, outcome,
        reason, direction, strength, features, members, created_at)
    SELECT id, deployment_id, instrument_id, {_at("bar_open")}, bar_revision, {_at("market")}, outcome,
        reason, direction, strength, features, members, clock_timestamp()
    FROM jsonb_to_recordset(%(decisions)s::jsonb) AS given (id uuid, deployment_id bigint, instrument_id bigint,
        bar_open bigint, bar_revision smallint, market bigint, outcome text, reason text, direction smallint,
        strength float8, features jsonb, members jsonb)
    ON CONFLICT DO NOTHING RETURNING id
)"""

SIGNALS = f"""signals AS (
    INSERT INTO strategies_signal (id, decision_id, deployment_id, instrument_id, direction, strength, horizon_s,
        reason, state, refused_by, detail, market_at, created_at, updated_at)
    SELECT id, decision_id, deployment_id, instrument_id, direction, strength, horizon_s,
        reason, state, refused_by, detail, {_at("market")}, clock_timestamp(), clock_timestamp()
    FROM jsonb_to_recordset(%(signals)s::jsonb) AS given (id bigint, decision_id uuid, deployment_id bigint,
        instrument_id bigint, direction smallint, strength float8, horizon_s int, reason text, state text,
        refused_by text, detail text, market bigint)
    ON CONFLICT DO NOTHING RETURNING id
)"""

SIGNALS_CHANGED = """signals_changed AS (
    UPDATE strategies_signal AS row SET state = given.state, refused_by = given.refused_by, detail = given.detail,
        updated_at = clock_timestamp()
    FROM jsonb_to_recordset(%(signals_changed)s::jsonb) AS given (id bigint, state text, refused_by text, detail text)
    WHERE row.id = given.id RETURNING row.id
)"""

_ORDER_COLUMNS = """id, client_id, venue_order_id, account_id, instrument_id, owner, decision_id, signal_id,
        parent_id, leg, revision, side, kind, time_in_force, quantity, price, trigger_price, reduce_only, adds_risk,
        state, filled, average_price, origin, detail"""
_ORDERS = f"""INSERT INTO execution_order ({_ORDER_COLUMNS}, fence, market_at, sent_at, created_at, updated_at)
    SELECT {_ORDER_COLUMNS}, %(fence)s, {_at("market")}, {_at("sent")}, clock_timestamp(), clock_timestamp()
    FROM jsonb_to_recordset(%(orders)s::jsonb) AS given (id bigint, client_id text, venue_order_id text,
        account_id bigint, instrument_id bigint, owner text, decision_id uuid, signal_id bigint, parent_id bigint,
        leg text, revision smallint, side text, kind text, time_in_force text, quantity numeric, price numeric,
        trigger_price numeric, reduce_only boolean, adds_risk boolean, state text, filled numeric,
        average_price numeric, origin text, detail text, market bigint, sent bigint)"""
ORDERS = f"orders AS ({_ORDERS} RETURNING id)"
# orders that reached the venue without a row (journalled while the database was gone): whoever comes second yields
ORDERS_ADOPTED = f"orders AS ({_ORDERS} ON CONFLICT (client_id) DO NOTHING RETURNING id)"

ORDERS_CHANGED = f"""orders_changed AS (
    UPDATE execution_order AS row SET state = given.state, adds_risk = given.adds_risk, filled = given.filled,
        average_price = given.average_price,
        venue_order_id = given.venue_order_id, origin = given.origin, detail = given.detail,
        sent_at = coalesce(row.sent_at, {_at("given.sent")}), fence = %(fence)s, updated_at = clock_timestamp()
    FROM jsonb_to_recordset(%(orders_changed)s::jsonb) AS given (id bigint, adds_risk boolean, state text,
        filled numeric, average_price numeric, venue_order_id text, origin text, detail text, sent bigint)
    WHERE row.id = given.id AND row.fence <= %(fence)s RETURNING row.id
)"""

FILLS = f"""fills AS (
    INSERT INTO execution_fill (id, account_id, order_id, instrument_id, owner, venue_fill_id, venue_order_id, side,
        quantity, price, fee, fee_currency, is_maker, realised, market_at, booked_at)
    SELECT id, %(account_id)s, order_id, instrument_id, owner, venue_fill_id, venue_order_id, side,
        quantity, price, fee, fee_currency, is_maker, realised, {_at("market")}, clock_timestamp()
    FROM jsonb_to_recordset(%(fills)s::jsonb) AS given (id bigint, order_id bigint, instrument_id bigint, owner text,
        venue_fill_id text, venue_order_id text, side text, quantity numeric, price numeric, fee numeric,
        fee_currency text, is_maker boolean, realised numeric, market bigint)
    ON CONFLICT (account_id, venue_fill_id) DO NOTHING RETURNING id
)"""

PARTS = {
    "decisions": DECISIONS,
    "signals": SIGNALS,
    "signals_changed": SIGNALS_CHANGED,
    "orders": ORDERS,
    "orders_adopted": ORDERS_ADOPTED,
    "orders_changed": ORDERS_CHANGED,
    "fills": FILLS,
}
# a fill that was booked before fails the whole statement: its position must not be written a second time
_FILLS_ALL_NEW = "1 / (CASE WHEN (SELECT count(*) FROM fills) = %(fills_n)s THEN 1 ELSE 0 END)"


@lru_cache(maxsize=256)
def statement(parts: tuple[str, ...], with_outbox: bool) -> str:
    """Return one statement that does all the parts, checks the fence and adds the log messages."""
    ctes = [HELD, *(PARTS[part] for part in parts)]
    if with_outbox:
        ctes.append(outbox.CTE)
    checks = ["1 / (SELECT n FROM held)"]
    if "fills" in parts:
        checks.append(_FILLS_ALL_NEW)
    return f"WITH {', '.join(ctes)} SELECT {', '.join(checks)}"
