"""The tables of the channels in Postgres, and the statements on them."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS spica_channel (
    name text COLLATE "C" PRIMARY KEY, epoch text NOT NULL, seq bigint NOT NULL, used timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS spica_event (
    channel text COLLATE "C" NOT NULL, seq bigint NOT NULL, event text, data bytea NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (channel, seq)
);
CREATE INDEX IF NOT EXISTS spica_event_at ON spica_event USING brin (at);
CREATE TABLE IF NOT EXISTS spica_presence (
    channel text COLLATE "C" NOT NULL, member text COLLATE "C" NOT NULL, value bytea NOT NULL,
    expires timestamptz NOT NULL,
    PRIMARY KEY (channel, member)
);
"""
"""The tables of the channels."""

PUBLISH = """
WITH {limit} counted AS (
    INSERT INTO spica_channel AS c (name, epoch, seq, used) SELECT $1, $2, 1, clock_timestamp() {source}
    ON CONFLICT (name) DO UPDATE SET seq = c.seq + 1, used = excluded.used RETURNING epoch, seq
), inserted AS (
    INSERT INTO spica_event (channel, seq, event, data, at)
    SELECT $1, seq, $3, $4, clock_timestamp() FROM counted
)
SELECT epoch, seq FROM counted
"""
PUBLISH_IN_TRANSACTION = PUBLISH.format(limit="", source="")
# Another transaction that has published to the channel holds its row. Only this statement gets the limit.
PUBLISH_WITHIN_LIMIT = PUBLISH.format(
    limit="patience AS MATERIALIZED (SELECT set_config('lock_timeout', $5, true)),",
    source="FROM patience",
)
# One statement, so that the counter and the events are of the same moment.
READ = """
SELECT c.epoch, c.seq, e.seq, e.event, e.data, extract(epoch FROM e.at)::float8
FROM spica_channel AS c LEFT JOIN LATERAL (
    SELECT * FROM spica_event
    WHERE channel = c.name AND seq > greatest($2, c.seq - $4)
    AND at >= clock_timestamp() - make_interval(secs => $5) ORDER BY seq LIMIT $3
) AS e ON true WHERE c.name = $1
"""
COUNTERS = "SELECT name, epoch, seq FROM spica_channel WHERE name = ANY ($1)"
# Two statements that lock the same rows in another order would wait for each other, and the server would end
# one: perhaps a transaction of the application that publishes. So a statement locks several rows in the order
# of their keys, or skips a row that another one has locked, because that one changes or deletes it anyway.
PRUNE_CHANNEL = """
DELETE FROM spica_event WHERE channel = $1 AND seq IN (
    SELECT seq FROM spica_event WHERE channel = $1 AND seq <= $2 FOR UPDATE SKIP LOCKED
)
"""
PRUNE = """
DELETE FROM spica_event WHERE (channel, seq) IN (
    SELECT channel, seq FROM spica_event WHERE at < clock_timestamp() - make_interval(secs => $1)
    FOR UPDATE SKIP LOCKED
)
"""
PRUNE_CHANNELS = """
DELETE FROM spica_channel WHERE name IN (
    SELECT name FROM spica_channel AS c WHERE used < clock_timestamp() - make_interval(secs => $1)
    AND NOT EXISTS (SELECT 1 FROM spica_event WHERE channel = c.name) FOR UPDATE SKIP LOCKED
)
"""
TOUCH = """
UPDATE spica_channel SET used = clock_timestamp() WHERE name IN (
    SELECT name FROM spica_channel WHERE name = ANY ($1) FOR UPDATE SKIP LOCKED
)
"""
JOIN = """
WITH given AS (SELECT unnest($2::text[]) COLLATE "C" AS member, unnest($3::bytea[]) AS value),
known AS (SELECT member FROM spica_presence WHERE channel = $1 AND member = ANY ($2)),
written AS (
    INSERT INTO spica_presence
    SELECT $1, member, value, clock_timestamp() + make_interval(secs => $4) FROM given
    ORDER BY member
    ON CONFLICT (channel, member) DO UPDATE SET value = excluded.value, expires = excluded.expires
)
SELECT member FROM given WHERE member NOT IN (SELECT member FROM known)
"""
LEAVE = """
DELETE FROM spica_presence WHERE channel = $1 AND member IN (
    SELECT member FROM spica_presence WHERE channel = $1 AND member = ANY ($2) ORDER BY member FOR UPDATE
) RETURNING member
"""
MEMBERS = (
    "SELECT member, value FROM spica_presence WHERE channel = $1 AND expires > clock_timestamp()"
)
SWEEP = """
DELETE FROM spica_presence WHERE channel = $1 AND member IN (
    SELECT member FROM spica_presence WHERE channel = $1 AND expires <= clock_timestamp()
    FOR UPDATE SKIP LOCKED
) RETURNING member, value
"""
