"""The rules of the house about who may import whom, and that importing does nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"client": ROOT / "stablequeue_client", "hub": ROOT / "stablequeue_hub"}

# A room is a folder, or a module at the top of its package. It may import the rooms named here, and what
# these may import; imports inside functions and for types count too. Everybody may import the version.
ROOMS = {
    "client/__init__": "",
    # --- what client and hub share: nothing else of ours
    "client/shared": "client/__init__",
    "client/shared/model_files": "client/shared",
    "client/shared/wire": "client/shared/model_files",
    "client/shared/generation": "client/shared/wire",
    "client/shared/views": "client/shared/wire",
    # --- the client
    "client/clock": "",
    "client/data_folder": "",
    "client/terminal_text": "",
    "client/child_processes": "client/shared client/terminal_text",
    "client/settings": "client/shared/model_files",
    "client/files": "client/shared/wire",
    "client/index": "client/files client/shared/views",
    "client/hub_client": "client/clock client/shared/views",
    "client/prompt_check": "client/index client/shared/generation",
    "client/transfers": "client/hub_client client/index",
    "client/agent": "client/transfers",
    "client/own_hub": "client/hub_client client/data_folder client/settings client/terminal_text",
    "client/commands": "client/agent client/own_hub client/prompt_check client/child_processes",
    "client/cli": "client/commands",
    "client/__main__": "client/cli",
    # --- the client inside a WebUI
    "client/webui/views": "client/shared/views",
    "client/webui/host": "client/settings client/shared/generation",
    "client/webui/settings": "client/webui/host client/agent",
    "client/webui/parts": "client/webui/settings client/own_hub",
    "client/webui/tab": "client/webui/parts client/webui/views",
    "client/webui/prompt_line": "client/webui/parts client/webui/views client/prompt_check",
    "client/webui/submit": "client/webui/parts client/webui/views",
    "client/webui/runner": "client/webui/parts",
    "client/webui/agent_process": "client/webui/parts client/child_processes",
    "client/webui/shell": "client/webui/tab client/webui/prompt_line client/webui/submit client/webui/runner"
    " client/webui/agent_process",
    "client/webui": "client/webui/shell",
    # --- the hub
    "hub/__init__": "",
    "hub/clock": "",
    "hub/settings": "",
    "hub/errors": "client/shared",
    "hub/store": "hub/errors hub/clock client/shared/views client/shared/generation",
    "hub/store/migrations/versions": "client/shared/model_files",
    "hub/events": "hub/store",
    "hub/history": "hub/store",
    "hub/access": "hub/events hub/settings",
    "hub/inventory": "hub/events",
    "hub/servers": "hub/inventory hub/access",
    "hub/models": "hub/servers",
    "hub/matching": "hub/models",
    "hub/jobs": "hub/matching hub/history",
    "hub/dispatch": "hub/jobs",
    "hub/transfers": "hub/servers",
    "hub/hub": "hub/dispatch hub/transfers hub/settings",
    "hub/background": "hub/actions",
    "hub/actions": "hub/hub",
    "hub/http": "hub/hub",
    "hub/legacy": "hub/actions hub/http",
    "hub/page": "hub/actions hub/http",
    "hub/routers": "",
    "hub/routers/api": "hub/page hub/legacy",
    "hub/routers/legacy": "hub/page hub/legacy",
    "hub/routers/page": "hub/page hub/legacy",
    "hub/app": "hub/routers/api hub/routers/legacy hub/routers/page hub/background",
    "hub/process": "hub/app",
    "hub/__main__": "hub/process",
}
HOST_MODULES = {"gradio", "modules", "modules_forge", "launch"}
PURE_ROOMS = ("client/shared/model_files", "client/shared/generation", "client/shared/wire")
"""Besides them every module whose docstring says "Pure."."""
# Modules that touch disk, network, clock or processes; a pure module has no business with them.
IMPURE = {
    *("os", "io", "socket", "sqlite3", "subprocess", "threading", "time", "requests", "shutil", "tempfile")
}
NO_IO = {"io.BytesIO", "os.pathsep", "os.devnull"}
MODULES_MAX = 20


@cache
def sources() -> list[Path]:
    return sorted(path for package in PACKAGES.values() for path in package.rglob("*.py"))


@cache
def files_by_module() -> dict[str, Path]:
    return {module_of(path): path for path in sources()}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(path: Path) -> str:
    name = next(name for name, package in PACKAGES.items() if path.is_relative_to(package))
    inner = path.relative_to(PACKAGES[name]).with_suffix("").parts
    return "/".join([name, *(inner if len(inner) == 1 else inner[:-1])])


@cache
def imports_of(path: Path) -> list[tuple[str, int]]:
    """Absolute names of everything ``path`` imports, with the line."""
    package = path.relative_to(ROOT).parts[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            found += [(f"{module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def ours_imported(path: Path) -> list[tuple[Path, int]]:
    """The files of ours that ``path`` imports, with the line."""
    files, found = files_by_module(), []
    for name, line in imports_of(path):
        name = name if name in files else name.rpartition(".")[0]
        if name in files:
            found.append((files[name], line))
    return found


@cache
def may_import(room: str) -> frozenset[str]:
    below = ROOMS[room].split()
    return frozenset({room, "client/__init__", *below}.union(*map(may_import, below)))


def says_pure(path: Path) -> bool:
    return "Pure." in (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")


def where(path: Path, line: int, name: object) -> str:
    return f"{path.relative_to(ROOT)}:{line} imports {name}"


def test_the_table_names_every_room_and_has_no_circle() -> None:
    list(TopologicalSorter({room: below.split() for room, below in ROOMS.items()}).static_order())
    assert {room_of(path) for path in sources()} == set(ROOMS)


def test_rooms_import_only_what_the_table_allows() -> None:
    wrong = [
        where(path, line, module_of(other))
        for path in sources()
        for other, line in ours_imported(path)
        if room_of(other) not in may_import(room_of(path))
    ]
    assert wrong == []


def test_no_router_imports_a_router() -> None:
    routers = [path for path in sources() if room_of(path).startswith("hub/routers")]
    wrong = [
        where(path, line, module_of(other))
        for path in routers
        for other, line in ours_imported(path)
        if other in routers
    ]
    assert wrong == []


def test_no_class_name_has_two_meanings() -> None:
    found: dict[str, list[str]] = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(module_of(path))
    assert {name: where for name, where in found.items() if len(where) > 1} == {}


def test_only_the_host_s_room_imports_a_host() -> None:
    """So differences between hosts can stand nowhere else."""
    wrong = [
        where(path, line, name)
        for path in sources()
        if room_of(path) != "client/webui/host"
        for name, line in imports_of(path)
        if name.split(".")[0] in HOST_MODULES
    ]
    assert wrong == []


def test_a_pure_module_imports_nothing_that_does_io() -> None:
    pure = [path for path in sources() if room_of(path) in PURE_ROOMS or says_pure(path)]
    wrong = [
        where(path, line, name)
        for path in pure
        for name, line in imports_of(path)
        if name.split(".")[0] in IMPURE and name not in NO_IO
    ]
    assert wrong == []
    assert len(pure) > 50


def test_no_folder_holds_more_modules_than_one_can_overlook() -> None:
    count = Counter(str(path.parent.relative_to(ROOT)) for path in sources())
    assert {folder: number for folder, number in count.items() if number > MODULES_MAX} == {}


def test_what_the_page_of_a_webui_asks_for_is_loaded_before_all_else() -> None:
    """What is not there yet when the page is built, the WebUI's own thread has to import."""
    path = ROOT / "stablequeue_client" / "webui" / "shell" / "loading.py"
    functions = {
        node.name: node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }

    def modules(name: str) -> set[str]:
        found = set()
        for node in functions[name].body:
            if isinstance(node, ast.ImportFrom):
                both = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                found |= {full if full in files_by_module() else str(node.module) for full in both.values()}
        return found

    asked = modules("_parts") | modules("_add_options") | modules("_tabs")
    assert asked == modules("_import_what_the_page_asks_for")
    first = ast.unparse(functions["_background"].body[0]).splitlines()[1]
    assert first.strip() == "_import_what_the_page_asks_for()"


IMPORT_EVERYTHING = """
import sys, threading, importlib, socket, pkgutil
from pathlib import Path
names = [n for n in sys.argv[1:]]
class Refused(Exception): pass
opened = []
def watch(event, args):
    doings = ("socket.connect", "subprocess.Popen", "os.mkdir", "os.rename", "os.remove", "sqlite3.connect")
    if event in doings:
        opened.append((event, str(args)[:200]))
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        opened.append((event, str(args)[:200]))
sys.dont_write_bytecode = True
sys.addaudithook(watch)
before = threading.active_count()
for name in names:
    importlib.import_module(name)
assert threading.active_count() == before, threading.enumerate()
assert not opened, opened
"""


@cache
def imported_at_once(path: Path) -> list[str]:
    """The names that importing ``path`` imports: not those inside functions, nor those for types."""
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def loaded_with(path: Path) -> tuple[set[Path], set[str]]:
    """(the files of ours that importing ``path`` loads, the other packages)."""
    ours, others, todo = set(), set(), [path]
    while todo:
        file = todo.pop()
        if file in ours:
            continue
        ours.add(file)
        for name in imported_at_once(file):
            names = [".".join(name.split(".")[:end]) for end in range(1, name.count(".") + 2)]
            todo += [files_by_module()[one] for one in names if one in files_by_module()]
            others |= {names[0]} - {"stablequeue_client", "stablequeue_hub"}
    return ours, others


def needs_a_host(path: Path) -> bool:
    """Whether importing the file imports a host module: only where a tab is made."""
    return bool(loaded_with(path)[1] & HOST_MODULES)


def importable_modules() -> list[str]:
    left_out = {"__main__", "env"}
    return [
        module_of(path)
        for path in sources()
        if path.stem not in left_out and "migrations" not in path.parts and not needs_a_host(path)
    ]


def test_importing_every_module_starts_no_thread_and_touches_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING, *importable_modules()],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_only_the_frame_of_the_tab_needs_a_host_to_be_imported() -> None:
    """The rest is tested without one."""
    assert [path.stem for path in sources() if needs_a_host(path)] == ["tab_frame"]


@pytest.mark.parametrize("module", ["webui/shell/loading", "webui/host/broken"])
def test_what_the_webui_s_main_thread_loads_is_the_standard_library_and_itself(module: str) -> None:
    ours, others = loaded_with(PACKAGES["client"] / f"{module}.py")
    assert others <= sys.stdlib_module_names
    rooms = {room_of(path) for path in ours}
    assert rooms <= {"client/__init__", "client/webui", "client/webui/host", "client/webui/shell"}


def test_nothing_of_ours_is_imported_past_the_table() -> None:
    """A call that imports names no package of ours, and a bare package is imported for its version alone."""
    importers, packages = ("import_module", "__import__"), {package.name for package in PACKAGES.values()}
    wrong = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            past = False
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(importers):
                past = any("stablequeue" in ast.unparse(one) for one in node.args)
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in packages:
                past = node.attr not in ("__version__", "__file__")
            if past:
                wrong.append(where(path, node.lineno, ast.unparse(node)))
    assert wrong == []


def test_tests_have_no_package_files() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
