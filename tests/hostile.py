"""What somebody might send who means harm, or whose mail program broke it: made from fixed seeds, by kind."""

import base64
import copy
import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from analysis.report import report_in
from analysis.spec import Spec, read_spec, to_code
from analysis.view_file import ViewFile
from capture.errors import UserError

FIXTURES = Path(__file__).resolve().parent / "fixtures"
CODES = [row["code"] for row in json.loads((FIXTURES / "links_v1.json").read_text("utf-8"))]
VIEWS = [path.read_bytes() for path in sorted((FIXTURES / "views_v1").glob("*.steerscope"))]
PATHS = (
    *("/etc/passwd", "../../etc/passwd", "~/.ssh/id_rsa", "/proc/self/environ", "file:///etc/passwd", "C:\\boot.ini"),
    *(
        "tour/../../../etc/hosts",
        "..",
        ".",
        "/",
        "tour\x00.json",
        "%2e%2e%2fetc%2fpasswd",
        "\\\\host\\share",
        "tour.json",
    ),
)
SCRIPTS = (
    *("<script>window.hacked=1</script>", "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>"),
    *("javascript:alert(1)", "{{7*7}}", "${jndi:ldap://x}", "'; DROP TABLE objects; --", "$(touch /tmp/x)", "`id`"),
    *(
        "[a](javascript:alert(1))",
        "\x1b]0;x\x07",
        "%s%s%n",
        "=cmd|' /C calc'!A0",
        "-- --out=/tmp/x",
        "\r\nSet-Cookie: a=b",
    ),
)
ODD_TEXTS = (
    *("", " ", "\x00", "\ufeff", "\u202e\u2066", "a\u0301" * 50, "👩‍👩‍👧" * 9, "\U0010ffff", "\ud800", "\udfff\ud800"),
    *("NaN", "null", "0" * 400, "a" * 3_000, "ｆｕｌｌ", "ﷺ" * 20, "\u2028\u2029", "\x7f\x80\x9f", "<|bos|><|eos|>"),
)
NUMBERS = (0, -1, 1, 2**31, -(2**63), 2**63, 10**400, 1e308, -1e308, 1e-320, float("inf"), float("-inf"), float("nan"))
SHAPES = ([], [-1], [0, 2**62], [2**31, 2**31], [1e9], [True], "x", [[1]], [1] * 70, {"0": 1})


def texts(random_: random.Random, n: int) -> Iterator[str]:
    """Paths, scripts, odd characters, and mixtures of them."""
    pool = (*PATHS, *SCRIPTS, *ODD_TEXTS)
    yield from pool
    for _ in range(n - len(pool)):
        parts = random_.choices(pool, k=random_.randint(1, 3))
        yield "".join(parts) + "".join(chr(random_.randrange(0x3000)) for _ in range(random_.randint(0, 12)))


def value(random_: random.Random, depth: int = 0) -> Any:
    """Any JSON value, and some that JSON should not have."""
    kind = random_.randrange(9 if depth < 3 else 5)
    if kind < 2:
        return random_.choice(NUMBERS)
    if kind < 4:
        return random_.choice((*PATHS, *SCRIPTS, *ODD_TEXTS))
    if kind == 4:
        return random_.choice((None, True, False, [], {}, SHAPES[random_.randrange(len(SHAPES))]))
    if kind == 5:
        return nested(random_.choice((5, 40, 600)))
    if kind == 6:
        return {random_.choice(SCRIPTS): value(random_, depth + 1) for _ in range(3)}
    return [value(random_, depth + 1) for _ in range(random_.randint(0, 4))]


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    one: Any = []
    for _ in range(depth):
        one = [one]
    return one


def changed(random_: random.Random, data: Any) -> Any:
    """Plain JSON with a value replaced, removed, doubled or renamed somewhere inside."""
    data = copy.deepcopy(data)
    at, key = data, random_.choice(_keys(data))
    while _keys(at[key]) and random_.random() < 0.8:
        at, key = at[key], random_.choice(_keys(at[key]))
    act = random_.randrange(6)
    if act == 0:
        del at[key]
    elif act == 1 and isinstance(at, dict):
        at[random_.choice(SCRIPTS)] = at.pop(key)
    elif act == 2 and isinstance(at, list):
        at.extend([at[key]] * random_.randint(1, 200))
    else:
        at[key] = value(random_)
    return data


def _keys(data: Any) -> list[Any]:
    return list(data) if isinstance(data, dict) else list(range(len(data))) if isinstance(data, list) else []


def damaged(random_: random.Random, data: bytes) -> bytes:
    """Bytes with some changed, cut out, doubled, or put elsewhere."""
    mutable = bytearray(data)
    for _ in range(random_.randint(1, 4)):
        start = random_.randrange(len(mutable) or 1)
        end = min(len(mutable), start + random_.choice((1, 1, 2, 30, 4_000)))
        piece = bytes(mutable[start:end])
        mutable[start:end] = random_.choice((b"", piece * 2, random_.randbytes(len(piece)), piece[::-1], b"\x00" * 9))
    return bytes(mutable)


def code(data: Any) -> str:
    """A whole link code of any JSON."""
    raw = json.dumps(data).encode("utf-8", "replace")
    return base64.urlsafe_b64encode(zlib.compress(raw)).decode().rstrip("=")


def codes(random_: random.Random, n: int) -> Iterator[str]:
    """Link codes: damaged, and whole with anything inside."""
    base = [one.to_json() for one in (Spec("outliers", text="a", pins={"pos": 1}), *_specs())]
    for number in range(n):
        if number % 3 == 0:
            yield damaged(random_, random_.choice(CODES).encode()).decode("latin-1")
        else:
            yield code(changed(random_, random_.choice(base)))
    yield code("a" * 2_000_000)
    yield code(nested(600))
    yield base64.urlsafe_b64encode(zlib.compress(b"[" * 500_000)).decode()


def _specs() -> Iterator[Spec]:
    recipe = {"kind": "add_vector", "at": "blocks.1.hook_resid_post", "vector": [1.0], "strength": 1.0, "from_pos": 0}
    yield Spec("outliers", text="The cat sat.", options={"what_if": "zero"}, interventions=(recipe,))
    yield Spec("compare", options={"left": to_code(Spec("outliers", text="a")), "right": "0" * 20})
    yield Spec("what_stands_out", text_set="tour", bos=False, dtype="bfloat16")


def link_texts(random_: random.Random, n: int) -> Iterator[str]:
    """What may stand in a link box: addresses with odd parts, several fields, wrong ids, codes and noise."""
    hosts = ("http://127.0.0.1:8501/", "//x", "javascript:", "http://[::1", "http://\u2100/", "data:text/html,", "")
    for _ in range(n):
        odd = random_.choice((*PATHS, *SCRIPTS, *ODD_TEXTS, random_.choice(CODES), "0" * 20))
        spelled = odd if random_.random() < 0.5 else quote(odd.encode("utf-8", "replace"))
        field = random_.choice(("view", "id", "id=x&view", "view[]", "", "id&view"))
        yield f"{random_.choice(hosts)}?{field}={spelled}#{odd[:9]}"


def view_files(random_: random.Random, n: int) -> Iterator[bytes]:
    """View files: damaged bytes, whole files of changed JSON (half of them with the id that their numbers have)."""
    parsed = [json.loads(gzip.decompress(data)) for data in VIEWS]
    for number in range(n):
        if number % 3 == 0:
            yield damaged(random_, random_.choice(VIEWS))
            continue
        data = random_.choice(parsed)
        # Whoever changes numbers can name them anew, too.
        part = "reports" if number % 3 == 1 else random_.choice(list(data))
        inside = changed(random_, {part: data[part]})
        yield pack(with_own_id({**data, **inside}))


def with_own_id(data: dict[str, Any]) -> dict[str, Any]:
    """The same with the id of its numbers, where they have one."""
    try:
        view = ViewFile(read_spec(data["spec"]), tuple(map(report_in, data["reports"])))
        return {**data, "id": view.id}
    except (UserError, KeyError, TypeError, ValueError, RecursionError):
        return data


def pack(data: Any) -> bytes:
    """The view file with these JSON values."""
    return gzip.compress(json.dumps(data).encode("utf-8", "replace"), 1)


def bombs(n_bytes: int) -> dict[str, bytes]:
    """Small files that unpack to that many bytes of something that takes room."""
    made: dict[str, Callable[[], bytes]] = {
        "zeros": lambda: bytes(n_bytes),
        "empty lists": lambda: b"[" + b"[]," * (n_bytes // 3) + b"[]]",
        "empty objects": lambda: b"[" + b"{}," * (n_bytes // 3) + b"{}]",
        "numbers": lambda: b"[" + b"1," * (n_bytes // 2) + b"1]",
        "brackets": lambda: b"[" * n_bytes,
        "one text": lambda: b'{"view_version": 1, "reports": ["' + b"a" * n_bytes + b'"]}',
        "escapes": lambda: b'["' + rb"\u0041" * (n_bytes // 6) + b'"]',
        "fields": lambda: b"{" + b",".join(b'"%d":0' % one for one in range(n_bytes // 10)) + b"}",
    }
    return {name: gzip.compress(make(), 1) for name, make in made.items()}


def recipes(random_: random.Random, n: int) -> Iterator[dict[str, Any]]:
    """Recipes of interventions with anything in any field."""
    at = "blocks.1.hook_resid_post"
    base = [
        {"kind": "add_vector", "at": at, "vector": [1.0] * 32, "strength": 1.0, "from_pos": 0},
        {"kind": "replace_entries", "at": at, "entries": [[None, 3, 0.0], [1, 4, -1.5]], "strength": 1.0},
    ]
    for _ in range(n):
        yield changed(random_, random_.choice(base))


def statements(random_: random.Random, n: int) -> Iterator[str]:
    """SQL that reads files, writes, ends the transaction, asks for settings, or is no SQL."""
    attacks = (
        *("SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM '/etc/passwd'", "SELECT * FROM glob('/*')"),
        *(
            "COPY reports TO '/tmp/x'",
            "ATTACH '/tmp/x.db'",
            "INSTALL httpfs",
            "LOAD '/tmp/x.so'",
            "SET memory_limit='9TB'",
        ),
        *("COMMIT; DROP TABLE objects", "SELECT 1; DELETE FROM objects", "DELETE FROM objects", "PRAGMA database_list"),
        *("SELECT nextval('object_ids')", "SELECT getenv('HOME')", "SELECT current_setting('temp_directory')"),
        *(
            "SELECT * FROM duckdb_settings()",
            "SELECT * FROM duckdb_databases()",
            "EXPLAIN ANALYZE SELECT 1",
            "CHECKPOINT",
        ),
        *(
            "FROM read_csv('/etc/passwd')",
            "SELECT * FROM read_parquet('http://x/y')",
            "EXPORT DATABASE '/tmp/x'",
            "CALL x()",
        ),
        *("SELECT repeat('a', 999999999)", "WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT 1 FROM t) SELECT * FROM t"),
        *("SELECT * FROM random_", "SELECT * FROM value", "select " + "(" * 2_000, "SELECT 1 /*", "SELECT '", "VACUUM"),
    )
    yield from attacks
    yield "SELECT " + "+".join("1" * 3_000)
    yield "SELECT " + "(" * 400 + "1" + ")" * 400
    for _ in range(n - len(attacks)):
        words = " ".join(random_.choices(attacks, k=2)).split()
        random_.shuffle(words)
        yield " ".join(words[: random_.randint(1, 9)]) + random_.choice((";", "", " --", random_.choice(ODD_TEXTS)))
