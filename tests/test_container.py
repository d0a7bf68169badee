"""The container as far as it can be tried without an engine: lint, and its own steps in a folder with its own files."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from benchmarks.app_client import elements, open_tab, settle, visit
from tests.browser.conftest import free_port, wait_until_healthy
from tests.own_loop import run_alone

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
STEPS = [line.strip().partition(" ")[::2] for line in TEXT.splitlines() if re.match(r"\s*[A-Z]+ ", line)]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
LINTER = Path(sys.executable).with_name("hadolint")
LEFT_OUT = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]


def steps(kind):
    """The arguments of every instruction of a kind, in order."""
    return [words for name, words in STEPS if name == kind]


def in_git():
    """Every file of the last commit."""
    listed = subprocess.run(["git", "ls-tree", "-rz", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, check=True)
    return [name for name in listed.stdout.decode().split("\0") if name]


def is_left_out(name):
    parts = name.split("/")
    starts = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    return any(pattern in starts or any(fnmatch(start, pattern) for start in starts) for pattern in LEFT_OUT)


def copied(words):
    """The files of git that one COPY takes."""
    *sources, _ = [word for word in words.split() if not word.startswith("--")]
    context = [name for name in in_git() if not is_left_out(name)]
    return {name for name in context for source in sources if source in (".", name, name.split("/")[0])}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A folder after the Dockerfile's steps, with our installed packages in place of those that pip would fetch."""
    folder, commit = tmp_path_factory.mktemp("image") / "app", tmp_path_factory.mktemp("commit")
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "--extract", "--directory", commit], input=archive, check=True)
    for kind, words in STEPS:
        if kind == "COPY":
            for name in copied(words):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(commit / name, folder / name)
        if kind == "RUN" and words.startswith("make"):
            command = [*shlex.split(words), "PIP=true", f"PYTHON={sys.executable}"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (packages,) = (folder / ".venv").glob("lib/python*/site-packages")
    (packages / "installed.pth").write_text(sysconfig.get_path("purelib"))
    return folder


@pytest.fixture(scope="module")
def port():
    return free_port()


def run_there(folder, words, port):
    """A command of the Dockerfile for that folder, on the loopback and a free port."""
    command = [word.replace("8501", str(port)).replace("0.0.0.0", "127.0.0.1") for word in json.loads(words)]
    module = [] if command[0].endswith("python") else ["-m", Path(command[0]).name]
    return [str(folder / ".venv/bin/python"), *module, *command[1:]]


@pytest.fixture(scope="module")
def server(image, port):
    """The container's own command under way; its address."""
    (words,) = steps("CMD")
    store = image.parent / "store"
    env = {"PATH": os.environ["PATH"], "HOME": str(image.parent), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    env |= dict(words.replace("/store", str(store)).split("=", 1) for words in steps("ENV"))
    process = subprocess.Popen(run_there(image, words, port), cwd=image, env=env)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_the_dockerfile_passes_its_linter():
    assert subprocess.run([LINTER, ROOT / "Dockerfile"], capture_output=True, text=True, check=False).stdout == ""


def test_the_linter_refuses_a_bad_dockerfile(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nRUN cd /tmp\n")
    said = subprocess.run([LINTER, tmp_path / "Dockerfile"], capture_output=True, text=True, check=False).stdout
    assert re.findall(r"DL\d+", said) == ["DL3007", "DL3003"]


def test_every_file_that_is_copied_is_in_git():
    for words in steps("COPY"):
        *sources, _ = words.split()
        missing = [one for one in sources if one != "." and one not in in_git()]
        assert missing == []


def test_the_image_has_the_app_and_neither_tests_nor_secrets():
    inside = set().union(*(copied(words) for words in steps("COPY")))
    assert {"app.py", "cli.py", ".streamlit/config.toml", "data/models/stories/model.safetensors"} <= inside
    assert {name.split("/")[0] for name in inside} & {"tests", "benchmarks", ".git", ".venv", "Dockerfile"} == set()
    assert is_left_out(".streamlit/secrets.toml")
    assert is_left_out("data/cache/steerscope.duckdb")


def test_the_app_does_not_run_as_root_and_may_write_its_store():
    (user,) = steps("USER")
    made = next(words for words in steps("RUN") if "useradd" in words)
    assert f"--uid {user} steerscope" in made
    assert "install --directory --owner steerscope /store" in made


def test_its_steps_make_an_environment_in_a_clean_folder(image):
    assert (image / ".venv/bin/python").is_file()
    assert (image / ".venv/runtime.stamp").is_file()


def test_what_pip_installs_is_the_pinned_list(image):
    command = ["make", "--dry-run", "--always-make", "install"]
    said = subprocess.run(command, cwd=image, capture_output=True, text=True, check=True).stdout
    assert [line for line in said.splitlines() if "pip install" in line] == [
        ".venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt"
    ]


def test_the_command_answers_its_own_health_check(image, port, server):
    (words,) = steps("HEALTHCHECK")
    command = run_there(image, words.partition("CMD ")[2], port)
    assert subprocess.run(command, cwd=image, check=False).returncode == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_published_port_shows_the_first_page(host, port, server):
    async def first_page():
        async with open_tab(f"http://{host}:{port}") as tab:
            await visit(tab, "", {})
            await settle(tab, lambda tab: bool(elements(tab, "heading")))
            return [one.new_element.heading.body for one in elements(tab, "heading")]

    assert "What stands out" in run_alone(first_page())


def test_another_host_name_is_refused(port, server):
    async def ask():
        async with connect(f"ws://evil.example:{port}/_stcore/stream", host="127.0.0.1", port=port):
            pass

    with pytest.raises(InvalidStatus, match="403"):
        run_alone(ask())


def test_compose_publishes_one_service_on_the_loopback_alone():
    ((name, service),) = COMPOSE["services"].items()
    assert (name, service["build"]) == ("steerscope", ".")
    assert service["ports"] == ["127.0.0.1:8501:8501"]
    assert steps("EXPOSE") == ["8501"]


def test_compose_keeps_the_store_in_a_volume():
    (mount,) = COMPOSE["services"]["steerscope"]["volumes"]
    volume, _, place = mount.partition(":")
    assert volume in COMPOSE["volumes"]
    assert steps("VOLUME") == [place]
    assert f"STEERSCOPE_HOME={place}" in steps("ENV")
