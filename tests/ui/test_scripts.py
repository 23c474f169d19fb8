"""The files of ``javascript/``: which of them the hub's page loads, and that they are there to be loaded."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stablequeue_client.shared.views import assets

from ..samples.samples import SAMPLES

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "javascript").glob("*.js"))
ONLY_IN_A_WEBUI = {"WebuiTab"}
"""What stablequeue.js uses of the parts, but never on the hub's page."""


def parts_given(files: list[Path]) -> list[str]:
    texts = [path.read_text("utf-8") for path in files]
    return [name for text in texts for name in re.findall(r"^  parts\.(\w+) = ", text, re.MULTILINE)]


def parts_used(files: list[Path]) -> set[str]:
    texts = [path.read_text("utf-8") for path in files]
    return {name for text in texts for name in re.findall(r"\bparts\.(\w+)\b(?! = )", text)}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_hubs_page_loads_the_listed_scripts_and_no_others(name: str) -> None:
    page = SAMPLES[name].page("/somewhere")
    found = re.findall(r"<script\b([^>]*)>", page)
    wanted = assets.SCRIPTS if 'id="sq-app"' in page else ()  # signing in, for one, needs none
    assert found == [f' src="/somewhere/static/{script}" defer' for script in wanted]


def test_the_listed_scripts_use_all_of_each_other_and_nothing_else() -> None:
    listed = [ROOT / "javascript" / name for name in assets.SCRIPTS]
    assert parts_used(listed) == {*parts_given(listed), *ONLY_IN_A_WEBUI}
    for path in listed:
        assert parts_given([path]) or path.name == "stablequeue.js", f"{path.name} gives nothing"


def test_in_a_webui_every_part_is_given_once_and_used() -> None:
    given = parts_given(FILES)
    assert len(given) == len(set(given))
    assert parts_used(FILES) == set(given)


def test_every_script_is_strict_and_keeps_its_names_to_itself() -> None:
    whole = re.compile(r'(//[^\n]*\n)+"use strict";\n\n\(\(\) => \{\n.*\n\}\)\(\);\n', re.DOTALL)
    assert [path.name for path in FILES if not whole.fullmatch(path.read_text("utf-8"))] == []


def test_every_listed_script_is_found_in_a_checkout() -> None:
    assert len(assets.SCRIPTS) == len(set(assets.SCRIPTS)) > 1
    for name in assets.SCRIPTS:
        found = assets.asset(name)
        assert found is not None, name
        assert found == ((ROOT / "javascript" / name).read_bytes(), "text/javascript; charset=utf-8")


def test_a_wheel_carries_them_where_they_are_looked_for(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for name, relative in assets.ASSETS.items():
            kept = f"stablequeue_client/shared/views/static/{relative}"
            assert kept in names, name
            assert archive.read(kept) == (assets.asset(name) or (b"",))[0]
    # Nothing of the checks that need Node.js.
    assert [name for name in names if re.search(r"package.*\.json|biome|node_modules", name)] == []
