"""The store's tables, as numbered steps; a file of any older version is brought up to date when it is opened."""

import duckdb

from capture.errors import UserError

# A point read of small uncompressed rows was measured to take a fifth of that of one large blob, and the same for
# pieces of 1 and 2 KB (benchmarks/bench_store.py, layout_read); from 4 KB on DuckDB moves a value elsewhere.
PIECE_BYTES = 2048

MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: (
        "CREATE SEQUENCE object_ids",
        "CREATE TABLE objects (id BIGINT, kind VARCHAR, key VARCHAR, header VARCHAR, n_bytes BIGINT, used_at DOUBLE)",
        "CREATE TABLE pieces (object_id BIGINT, n INTEGER, data BLOB USING COMPRESSION uncompressed)",
    ),
    2: (
        "ALTER TABLE objects ADD COLUMN is_shared BOOLEAN DEFAULT false",
        "CREATE TABLE timings (action VARCHAR, shape VARCHAR, seconds DOUBLE, timed_at DOUBLE)",
    ),
    3: (
        "CREATE TABLE remembered (kind VARCHAR, key VARCHAR, value VARCHAR, made_at DOUBLE)",
        "CREATE TABLE jobs (id VARCHAR, kind VARCHAR, recipe VARCHAR, owner VARCHAR, name VARCHAR, state VARCHAR, "
        "share DOUBLE, words VARCHAR, result VARCHAR, error VARCHAR, made_at DOUBLE, started_at DOUBLE, "
        "ended_at DOUBLE)",
        "CREATE TABLE report_facts (object_id BIGINT, lens VARCHAR, model VARCHAR, fingerprint VARCHAR, dtype VARCHAR, "
        "text VARCHAR, text_set VARCHAR, bos BOOLEAN, n_tokens BIGINT, made_at DOUBLE)",
        "CREATE TABLE report_tokens (object_id BIGINT, pos INTEGER, token VARCHAR)",
        "CREATE TABLE report_statistics (object_id BIGINT, quantity VARCHAR, layer INTEGER, pos INTEGER, "
        "axis VARCHAR, place INTEGER, value DOUBLE)",
        "CREATE TABLE report_findings (object_id BIGINT, sentence VARCHAR, magnitude DOUBLE, unit VARCHAR, "
        "score DOUBLE)",
    ),
    4: (
        "CREATE TABLE dashboard_latents (object_id BIGINT, latent INTEGER, n_fired BIGINT, density DOUBLE, "
        "max DOUBLE, mean DOUBLE, mean_square DOUBLE, skew DOUBLE, kurtosis DOUBLE, first_bin INTEGER, "
        "bin_counts INTEGER[], fires_on VARCHAR[], promotes VARCHAR[], suppresses VARCHAR[])",
        "CREATE TABLE dashboard_cards (object_id BIGINT, latent INTEGER, n INTEGER, "
        "data BLOB USING COMPRESSION uncompressed)",
        "CREATE TABLE dashboard_tokens (object_id BIGINT, token INTEGER, text VARCHAR)",
        "CREATE TABLE latent_labels (sae VARCHAR, latent INTEGER, text VARCHAR, author VARCHAR, made_at DOUBLE)",
    ),
}
LATEST = max(MIGRATIONS)


def version(cursor: duckdb.DuckDBPyConnection) -> int:
    """The version of the tables in a file; 0 for a new file."""
    cursor.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER)")
    rows = cursor.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchall()
    return int(rows[0][0])


def migrate(cursor: duckdb.DuckDBPyConnection, to: int = LATEST) -> int:
    """Apply every step after the file's version, each in its own transaction; returns the version it had.

    Raises UserError for a file that a newer program made.
    """
    found = version(cursor)
    if found > LATEST:
        raise UserError(
            f"The store is of version {found}, and this program reads up to version {LATEST}.",
            "Update Steerscope, or set STEERSCOPE_HOME to another folder.",
        )
    for step in range(found + 1, to + 1):
        cursor.execute("BEGIN")
        for statement in MIGRATIONS[step]:
            cursor.execute(statement)
        cursor.execute("INSERT INTO schema_version VALUES (?)", [step])
        cursor.execute("COMMIT")
    return found
