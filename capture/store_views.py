"""The tables that SQL sees: one view each over the store's own, which stay out of reach."""

import duckdb

VIEWS = {
    "reports": """
        SELECT o.key AS report, json_extract_string(o.header, '$.lens') AS lens, f.model,
            json_extract_string(o.header, '$.model') AS fingerprint, f.dtype, f.text, f.text_set, f.bos, f.n_tokens,
            make_timestamp((f.made_at * 1e6)::BIGINT) AS made, make_timestamp((o.used_at * 1e6)::BIGINT) AS used,
            o.n_bytes, o.is_shared
        FROM {main}.objects o LEFT JOIN {main}.report_facts f ON f.object_id = o.id WHERE o.kind = 'report'""",
    "tokens": """
        SELECT o.key AS report, t.pos, t.token
        FROM {main}.report_tokens t JOIN {main}.objects o ON t.object_id = o.id""",
    "statistics": """
        SELECT o.key AS report, s.quantity, s.layer, s.pos, s.axis, s.place, s.value
        FROM {main}.report_statistics s JOIN {main}.objects o ON s.object_id = o.id""",
    "latents": """
        SELECT o.key AS dashboard, json_extract_string(o.header, '$.sae') AS sae,
            json_extract_string(o.header, '$.model') AS model, json_extract_string(o.header, '$.texts') AS texts,
            d.latent, d.n_fired, d.density, d.max, d.mean, d.mean_square, d.skew, d.kurtosis, d.fires_on, d.promotes,
            d.suppresses, l.label, l.author
        FROM {main}.dashboard_latents d JOIN {main}.objects o ON d.object_id = o.id
            LEFT JOIN (
                SELECT sae, latent, arg_max(text, made_at) AS label, arg_max(author, made_at) AS author
                FROM {main}.latent_labels GROUP BY sae, latent
            ) l ON l.latent = d.latent AND l.sae = json_extract_string(o.header, '$.sae')""",
    "findings": """
        SELECT o.key AS report, f.sentence, f.magnitude, f.unit, f.score
        FROM {main}.report_findings f JOIN {main}.objects o ON f.object_id = o.id""",
    "objects": """
        SELECT kind, key, header, n_bytes, make_timestamp((used_at * 1e6)::BIGINT) AS used, is_shared
        FROM {main}.objects""",
    "timings": """
        SELECT action, shape, seconds, make_timestamp((timed_at * 1e6)::BIGINT) AS timed FROM {main}.timings""",
}

BUILT_IN_QUERIES = {
    "Largest entries over all texts": (
        "SELECT r.model, t.token, s.layer, s.pos, s.value AS times_the_median\n"
        "FROM statistics s JOIN reports r USING (report) JOIN tokens t USING (report, pos)\n"
        "WHERE s.quantity = 'max_over_median'\nORDER BY s.value DESC LIMIT 50"
    ),
    "How extreme each layer is, by model": (
        "SELECT r.model, s.layer, count(DISTINCT r.report) AS n_reports, "
        "median(s.value) AS median_times, max(s.value) AS largest_times\n"
        "FROM statistics s JOIN reports r USING (report)\n"
        "WHERE s.quantity = 'max_over_median'\nGROUP BY ALL ORDER BY r.model, s.layer"
    ),
    "Tokens with the highest kurtosis": (
        "SELECT t.token, count(*) AS n, median(s.value) AS median_kurtosis\n"
        "FROM statistics s JOIN tokens t USING (report, pos)\n"
        "WHERE s.quantity = 'kurtosis'\nGROUP BY t.token ORDER BY median_kurtosis DESC LIMIT 50"
    ),
    "Strongest findings": (
        "SELECT f.score, f.sentence, r.model, r.text\n"
        "FROM findings f JOIN reports r USING (report)\nORDER BY f.score DESC LIMIT 50"
    ),
    "What takes the room": (
        "SELECT kind, count(*) AS n, sum(n_bytes) AS n_bytes, max(used) AS last_used\n"
        "FROM objects GROUP BY kind ORDER BY n_bytes DESC"
    ),
    "Reading beside running": (
        "SELECT action, shape, count(*) AS n, 1000 * median(seconds) AS median_ms\n"
        "FROM timings GROUP BY ALL ORDER BY n DESC"
    ),
}


def show_views(cursor: duckdb.DuckDBPyConnection) -> None:
    """Put the views before the tables of the same name, for this cursor alone."""
    database = cursor.execute("SELECT current_database()").fetchall()[0][0]
    main = '"' + database.replace('"', '""') + '".main'
    for name, select in VIEWS.items():
        cursor.execute(f"CREATE TEMP VIEW {name} AS {select.format(main=main)}")
