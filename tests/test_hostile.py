"""Whatever is sent ends in a value or in a sentence; no file elsewhere is opened, no socket, and nothing takes long.

The cases are those of `tests/hostile.py`, with fixed seeds; each test gathers all that went wrong before it fails.
"""

import itertools
import random
import signal
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import cli
from analysis import plain_json, view_file
from analysis.as_code import cli_line, python_script
from analysis.lens import lenses
from analysis.link import read_link
from analysis.option import read_options
from analysis.pipeline import run
from analysis.shared_view import changes_since, keep_view, kept_view
from analysis.spec import Spec, from_code, read_spec, to_code
from analysis.tables import data_zip
from analysis.text_set import read_text_set, text_sets
from analysis.view_file import read_view_file
from capture.errors import UserError
from capture.intervention import operator_from_recipe
from capture.models import load_session
from capture.store import ActivationStore
from capture.store_query import query
from tests import hostile
from ui.view_html import view_html, view_in_html

ROOT = Path(__file__).resolve().parent.parent
CPU_SECONDS = 10
"""Of one case; they take milliseconds, and a test machine may be slow."""
MAX_SENTENCE = 1_000
N_CASES = {
    "codes": 600,
    "links": 400,
    "view files": 450,
    "exported pages": 60,
    "texts": 120,
    "names": 150,
    "options": 200,
    "recipes": 150,
    "statements": 120,
    "arguments": 60,
}
_WATCHED: list[str] = []
_IS_WATCHING = [False]


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if not _IS_WATCHING[0]:
        return
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
        _WATCHED.append(f"{event} {arguments[-1]!r}")
    if event == "open" and isinstance(arguments[0], str | bytes) and not _is_ours(arguments[0]):
        _WATCHED.append(f"open {arguments[0]!r}")


def _is_ours(path: str | bytes) -> bool:
    homes = (ROOT, sys.prefix, sys.base_prefix, tempfile.gettempdir(), "/usr/lib", "/usr/share/zoneinfo")
    devices = ("/dev/null", "/dev/urandom")
    full = Path(path.decode() if isinstance(path, bytes) else path).absolute()
    return str(full) in devices or any(full.is_relative_to(home) for home in homes)


# An audit hook stays for the rest of the process, so it asks whether it is wanted.
sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def watched():
    """Fails the test where a file elsewhere was opened, a connection made, or a program started."""
    del _WATCHED[:]
    _IS_WATCHING[0] = True
    yield _WATCHED
    _IS_WATCHING[0] = False
    assert _WATCHED == []


@pytest.fixture
def store(tmp_path):
    store = ActivationStore.open(tmp_path / "store.duckdb")
    yield store
    store.close()


@pytest.fixture
def load(tiny_session):
    return lambda name, dtype: tiny_session


@contextmanager
def cpu_limit() -> Iterator[None]:
    """Raises TimeoutError inside after a few seconds of processor time."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def assert_answered(kind: str, cases: Iterable[object], act: Callable[..., object]) -> None:
    """Each case gives a value or a UserError with a sentence of some length and a hint, in bounded time."""
    wrong, n_cases, n_values = [], 0, 0
    for n_cases, case in enumerate(cases, start=1):
        try:
            with cpu_limit():
                act(case)
            n_values += 1
        except UserError as error:
            if not (0 < len(error.message) <= MAX_SENTENCE and error.hint):
                wrong.append((n_cases, str(case)[:200], f"{len(error.message)} characters: {error.message[:60]}"))
        except Exception as error:  # noqa: BLE001 - any other exception is what is looked for
            wrong.append((n_cases, str(case)[:200], repr(error)[:300]))
    assert wrong == []
    assert n_cases >= N_CASES[kind]
    assert 0 < n_values < n_cases, "the cases must be of both kinds"


def made(kind: str, cases: Callable[[random.Random, int], Iterable[object]], seed: int) -> Iterable[object]:
    return cases(random.Random(seed), N_CASES[kind])


def test_there_are_at_least_two_thousand():
    assert sum(N_CASES.values()) >= 2_000


def use(spec: Spec) -> None:
    """What is done with a Spec that came from elsewhere before any model is asked."""
    assert from_code(to_code(spec)) == read_spec(spec.to_json()) == spec
    spec.digest()
    cli_line(spec)
    python_script(spec)


def test_codes():
    assert_answered("codes", made("codes", hostile.codes, 1), lambda code: use(from_code(code)))


def test_links(store):
    def open_link(text: str) -> None:
        link = read_link(text)
        assert read_link(link.address("http://127.0.0.1/")) == link
        if link.id:
            kept_view(link.id, store)
        use(link.spec)

    assert_answered("links", made("links", hostile.link_texts, 2), open_link)


def test_view_files(store):
    def open_file(data: bytes) -> None:
        view = read_view_file(data)
        changes_since(view, {"llama": "0" * 32})
        assert kept_view(keep_view(view, store), store).id == view.id
        data_zip(view)
        if view.id[0] in "01":
            # A page takes half a second, so every eighth is made.
            assert view_in_html(view_html(view)).id == view.id

    assert_answered("view files", made("view files", hostile.view_files, 3), open_file)


def test_exported_pages():
    page = (ROOT / "tests" / "fixtures" / "views_v1" / "texts.html").read_bytes()
    start = page.index(b"steerscope-view")

    def pages(draw: random.Random, n: int) -> Iterable[str]:
        """Half of them are damaged somewhere, half where the view is."""
        for _ in range(n // 2):
            yield hostile.damaged(draw, page).decode("utf-8", "replace")
            view = hostile.damaged(draw, page[start:])
            yield (page[:start] + view).decode("utf-8", "replace")

    assert_answered("exported pages", made("exported pages", pages, 10), view_in_html)


def test_texts(load):
    def ask(text: str) -> None:
        run(Spec("outliers", text=text), load, None)

    assert_answered("texts", made("texts", hostile.texts, 4), ask)


def test_names_of_text_sets_models_views_and_sides(load, store, monkeypatch):
    def not_fetched(name: str, *_: object) -> Path:
        raise UserError("The hub is not asked here.", "Choose another.")

    monkeypatch.setattr("capture.model_source._fetch", not_fetched)
    doors = itertools.cycle(
        (
            lambda name: read_text_set(name),
            lambda name: load_session(name),
            lambda name: kept_view(name, store),
            lambda name: run(Spec("compare", options={"left": name, "right": name}), load, store),
            lambda name: run(Spec(name, text="a"), load, store),
            lambda name: store.clear(name),
        )
    )
    names = itertools.chain(text_sets(), made("names", hostile.texts, 5))
    assert_answered("names", names, lambda name: next(doors)(name))


def test_options():
    options = [(lens, option) for lens in lenses().values() for option in lens.options]
    draw = random.Random(6)

    def read(value: object) -> None:
        lens, option = draw.choice(options)
        read_options(lens.options, {option.name: value})

    values = (hostile.value(draw) for _ in range(N_CASES["options"]))
    assert_answered("options", itertools.chain(["zero", "mean"] * 9, values), read)


def test_recipes_of_interventions(load):
    def steer(recipe: dict[str, object]) -> None:
        operator_from_recipe(recipe)
        run(Spec("outliers", text="The cat sat.", interventions=(recipe,)), load, None)

    assert_answered("recipes", made("recipes", hostile.recipes, 7), steer)


def test_statements(store):
    assert_answered("statements", made("statements", hostile.statements, 8), lambda sql: query(store, sql, limit_s=0.1))


def test_arguments_of_the_command_line(monkeypatch, tiny_session, tmp_path, capsys):
    monkeypatch.setattr("capture.models.load_session", lambda name, dtype: tiny_session)
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path))
    flags = itertools.cycle(["--text", "--view", "--text-set", "--what-if", "--text-file", "--bos"])

    def call(text: str) -> None:
        with pytest.raises(SystemExit) as ended:
            cli.main(["run", "outliers", f"{next(flags)}={text}"])
        words = capsys.readouterr().err
        assert "Traceback" not in words
        if ended.value.code:
            raise UserError(words[:MAX_SENTENCE], "as on the terminal")

    texts = (text for text in made("arguments", hostile.texts, 9) if not text.startswith(("/etc", "/proc", "..")))
    assert_answered("arguments", itertools.chain(texts, ["a b"] * 20), call)


@pytest.mark.parametrize("kind", hostile.bombs(10))
def test_a_bomb_is_refused_within_the_memory_that_its_limits_allow(kind, monkeypatch):
    monkeypatch.setattr(view_file, "MAX_JSON_BYTES", 1_000_000)
    monkeypatch.setattr(plain_json, "MAX_VALUES", 20_000)
    data = hostile.bombs(3_000_000)[kind], hostile.bombs(900_000)[kind]
    peaks = []
    # The first is small: what is imported or compiled by it is not counted.
    for one in (hostile.bombs(10)[kind], *data):
        tracemalloc.start()
        with pytest.raises(UserError, match="cannot be read"):
            read_view_file(one)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(map(len, data)) < 700_000
    assert max(peaks[1:]) < 8_000_000
