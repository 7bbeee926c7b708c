"""Which row versions a load delivers: transaction ids, 32 bits in a row, 64 in a snapshot.

A load delivers the versions whose transaction lies between the last load's horizon and this one's, so the order of
stamps and the order of commits need not agree. The horizon is the snapshot's xmin: everything below it has ended.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from penstock.errors import ConfigError, ExtractionError
from penstock.records import dataclass
from penstock.values import Position

XID_MASK = 0xFFFFFFFF
FIRST_NORMAL_XID = 3  # 1 and 2 mark rows older than every transaction
HORIZON_LIMIT = 1 << 31
HORIZON_WARN = 1 << 30

_OPEN = """open_transactions AS (
    SELECT pid, datname, usename, xact_start, backend_xid, backend_type FROM pg_stat_activity
    WHERE pid <> pg_backend_pid())"""

# The earliest start of a transaction that may still commit a stamp. Asked before the snapshot is taken: what is under
# way then and was not under way here has started since, so the clock here is a bound too.
ACTIVITY = f"""
WITH {_OPEN}
SELECT clock_timestamp(), least(clock_timestamp(), (
    SELECT min(since) FROM (
        SELECT xact_start AS since FROM open_transactions
        WHERE datname = current_database()
          AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'parallel worker', 'walsender')
        UNION ALL
        SELECT prepared FROM pg_prepared_xacts WHERE database = current_database()) AS s)),
    pg_has_role('pg_read_all_stats', 'USAGE'), pg_is_in_recovery()
"""

# One row: identity, version, horizon, top, and who holds the horizon back.
FACTS = f"""
WITH {_OPEN}, blockers AS (
    SELECT age(backend_xid) AS xid_age, xact_start AS since,
           format('session %s of user %s in database %s', pid, usename, datname) AS label
    FROM open_transactions WHERE backend_xid IS NOT NULL
    UNION ALL
    SELECT age(transaction), prepared,
           format('prepared transaction %L of user %s in database %s', gid, owner, database)
    FROM pg_prepared_xacts
), blocker AS (SELECT * FROM blockers ORDER BY xid_age DESC LIMIT 1)
SELECT (SELECT system_identifier FROM pg_control_system())::text,
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
       current_setting('server_version_num')::int,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
       (SELECT label FROM blocker), (SELECT since FROM blocker)
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """The server and the snapshot a read looks at."""

    identity: str
    version: int
    horizon: int
    top: int
    blocker: str | None
    blocked_since: datetime | None
    now: datetime
    oldest_start: datetime
    sees_everyone: bool
    standby: bool = False

    @classmethod
    def from_rows(cls, activity: tuple[Any, ...], facts: tuple[Any, ...]) -> Facts:
        """The rows of ACTIVITY, asked first, and of FACTS, asked under the snapshot."""
        system, timeline, *rest = facts
        return cls(f"{system}/{timeline}", *rest, *activity)

    @property
    def quiet(self) -> bool:
        """No transaction was under way: everything the snapshot shows lies below the horizon."""
        return self.horizon == self.top


@dataclass(frozen=True, slots=True)
class XidWindow:
    """Row versions with low <= full(xmin) < high, as ages below `top`; None leaves an end open."""

    top: int
    low: int | None = None
    high: int | None = None

    @property
    def everything(self) -> bool:
        return self.low is None and (self.high is None or self.high >= self.top)

    @property
    def empty(self) -> bool:
        """No version that is visible can lie in it."""
        high = self.top if self.high is None else self.high
        return self.low is not None and self.low >= high

    def contains(self, xmin: int) -> bool:
        """What the SQL of `condition` computes, for one 32-bit xmin."""
        age = (self.top - xmin) & XID_MASK
        ancient = xmin < FIRST_NORMAL_XID
        if self.low is not None and (ancient or age > self.top - self.low):
            return False
        return self.high is None or self.high >= self.top or ancient or age > self.top - self.high


def full_xid(xmin: int, top: int) -> int:
    """The 64-bit id of a visible row's 32-bit xmin, `top` being the snapshot's first unused id; special ids are 0."""
    if xmin < FIRST_NORMAL_XID:
        return 0
    full = (top >> 32 << 32) + xmin
    return full - (1 << 32) if xmin > (top & XID_MASK) else full


def condition(window: XidWindow, *, top: str, low: str, high: str) -> str:
    """The window as SQL over `xmin`; the arguments are SQL for its three numbers. Never called for everything."""
    # (top - xmin) modulo 2^32 is the age that full_xid gives, worked out once per row: bigint & is two's complement
    xmin = "t.xmin::text::bigint"
    age = f"(({top} - {xmin}) & {XID_MASK})"
    parts = []
    if window.low is not None:
        parts.append(f"{age} <= {top} - {low} AND {xmin} >= {FIRST_NORMAL_XID}")
    if window.high is not None and window.high < window.top:
        newer = f"{age} > {top} - {high}"
        parts.append(newer if window.low is not None else f"({newer} OR {xmin} < {FIRST_NORMAL_XID})")
    return " AND ".join(parts) or "true"


def check_position(after: Position, facts: Facts, *, stream: str, accept: bool) -> bool:
    """Whether the stored horizon still counts here. False only for another system that the table accepts."""
    if after.identity is not None and after.identity != facts.identity:
        if accept:
            return False
        raise ExtractionError(
            f"the source is another system, or was promoted or restored: it was {after.identity}, it is "
            f"{facts.identity} (system identifier/timeline)",
            where=stream,
            fix="check that it holds the same data, then set `accept_source_change: true` for one run "
            "(it goes on by cursor), or run with --full-refresh",
            fault="config",
            retryable=False,
        )
    if after.horizon is None:
        return False
    if after.horizon > facts.top:
        raise ExtractionError(
            f"the stored horizon {after.horizon} lies ahead of the server's transactions ({facts.top})",
            where=stream,
            fix="the server was restored from an older state: run with --full-refresh",
            fault="config",
            retryable=False,
        )
    if facts.top - after.horizon >= HORIZON_LIMIT:
        raise ExtractionError(
            f"the stored horizon is {facts.top - after.horizon} transactions old: past {HORIZON_LIMIT} row versions "
            "can no longer be told apart",
            where=stream,
            fix="run this table with --full-refresh, and at least once in two billion transactions",
            fault="config",
            retryable=False,
        )
    return True


def notes_of(facts: Facts, after: Position | None) -> tuple[str, ...]:
    """What a person should know of the horizon."""
    notes = []
    if facts.top > facts.horizon:
        notes.append(f"horizon lag: {facts.top - facts.horizon} transactions")
    if not facts.sees_everyone:
        notes.append("transactions of other users are not visible: grant pg_read_all_stats, or lookback covers them")
    if facts.standby:
        notes.append("a standby does not show what is under way on the primary: only lookback covers early stamps")
    if after and after.horizon is not None and facts.top - after.horizon > HORIZON_WARN:
        notes.append(f"the last load's horizon is {facts.top - after.horizon} transactions old; the limit is 2^31")
    return tuple(notes)


def lag_of(facts: Facts) -> float:
    """Seconds for which the oldest open write transaction has held the horizon back; 0 where none does."""
    if facts.top <= facts.horizon or facts.blocked_since is None:
        return 0.0
    return max(0.0, (facts.now - facts.blocked_since).total_seconds())


def refuse_wrapped(facts: Facts, stream: str) -> None:
    """Without a cursor prefilter a row older than 2^32 transactions looks new once ids have wrapped."""
    if facts.top > XID_MASK:
        raise ConfigError(
            "`lookback: all` cannot tell old rows from new ones for append: the server's transaction ids have wrapped",
            where=stream,
            fix="give a `lookback` and a numeric or time cursor, or a keyed strategy (upsert)",
        )
