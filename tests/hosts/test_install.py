"""install.py in each host's environment: quick, quiet, and nobody's pin moves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stablequeue_client.webui.host.python_requirements import REQUIREMENTS, _numbers

from .running_host import FAMILIES, HERE, host_python

ROOT = HERE.parents[1]
INSTALL = ROOT / "install.py"
FREEZE = (
    "import importlib.metadata as m, json;"
    "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
)


def run_install(python: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more
    return subprocess.run(
        [python, str(INSTALL)], env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def versions(python: str) -> dict[str, str]:
    done = subprocess.run([python, "-c", FREEZE], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.fixture(params=FAMILIES)
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A Python that sees a host's packages and none of ours, in which pip may install."""
    base = host_python(request.param)
    subprocess.run([base, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True, timeout=60)
    inside = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    python = str(tmp_path.joinpath("venv", *inside))
    paths = json.loads(_output(base, "import json, sysconfig; print(json.dumps(sysconfig.get_paths()))"))
    own = json.loads(_output(python, "import json, sysconfig; print(json.dumps(sysconfig.get_paths()))"))
    for entry in Path(paths["purelib"]).iterdir():
        if not entry.name.lower().startswith(OURS_ALONE):
            Path(own["purelib"], entry.name).symlink_to(entry)
    return python


OURS_ALONE = ("blake3", "msgspec", "platformdirs", "watchfiles")


def _output(python: str, source: str) -> str:
    return subprocess.run([python, "-c", source], capture_output=True, text=True, check=True).stdout


def test_the_list_of_requirements_is_pyproject_s() -> None:
    tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = {line.partition(";")[0].strip() for line in project["dependencies"]}
    listed = {item.requirement for item in REQUIREMENTS}
    assert listed | {"tomli>=2.0"} == wanted
    assert ("tomli>=2.0" in listed) == (sys.version_info < (3, 11))


@pytest.mark.parametrize("family", FAMILIES)
def test_with_nothing_missing_it_says_nothing_and_is_quick(family: str) -> None:
    python = host_python(family)
    plain, ours = [], []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run([python, "-c", "pass"], check=True)
        plain.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        done = run_install(python)
        ours.append(time.perf_counter() - begun)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert min(ours) < 0.3 or min(ours) < 8 * min(plain)


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_it_installs_what_is_missing_and_moves_no_pin(bare: str) -> None:
    before = versions(bare)
    assert "msgspec" not in before
    done = run_install(bare)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    after = versions(bare)
    assert {name: after.get(name) for name in before} == before
    assert {item.name.lower() for item in REQUIREMENTS} <= set(after)
    # What came in must be content with what was there: the pins are a WebUI's, not ours to move.
    assert set(after) - set(before) <= {item.name.lower() for item in REQUIREMENTS} | {"typing-extensions"}


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_without_a_network_it_is_one_sentence_and_no_failure(bare: str, tmp_path: Path) -> None:
    done = run_install(bare, PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    assert "blake3, msgspec, platformdirs, watchfiles could not be installed" in done.stdout
    assert f'run: "{bare}" -m pip install "blake3>=1.0"' in done.stdout


@pytest.mark.parametrize(
    ("older", "newer"), [("4.66", "4.66.1"), ("0.18", "0.18.6"), ("5.9.5", "5.10.0"), ("1.0rc1", "1.0.1")]
)
def test_versions_are_compared_by_their_numbers(older: str, newer: str) -> None:
    assert _numbers(older) < _numbers(newer)


def test_equal_versions_are_equal_however_they_are_written() -> None:
    assert _numbers("3.10") == _numbers("3.10.0")
