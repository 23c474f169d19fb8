"""The rules of the house about who may import whom, and that importing does nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CLIENT = ROOT / "stablequeue_client"
HUB = ROOT / "stablequeue_hub"

HOST_MODULES = {"gradio", "modules", "modules_forge", "launch"}
PURE_CLIENT_MODULES = [
    *("protocol", "errors", "model_files", "inventory", "settings"),
    *("requirements", "prompt_check", "nearest_names", "job_messages", "queue_messages", "infotext"),
    *("png_text", "name_translation", "picture_check", "picture_explanation", "capability_needs"),
    *("runner_messages", "report_messages", "architectures", "job_fields", "picture_text"),
    "infotext_settings",
]
# The one list of what the hub may take from the client (an empty suffix is the package itself).
HUB_MAY_IMPORT = {
    *("", "model_files", "errors", "protocol", "safetensors_header", "ui"),
    *("requirements", "job_messages", "queue_messages", "infotext", "png_text", "capability_needs"),
    *(
        "infotext_settings",
        "name_translation",
        "picture_check",
        "runner_messages",
        "report_messages",
        "architectures",
    ),
    *("job_fields", "picture_text"),
}
# Modules that touch disk, network, clock or processes; a pure module has no business with them.
IMPURE = {
    "os",
    "io",
    "socket",
    "sqlite3",
    "subprocess",
    "threading",
    "time",
    "requests",
    "shutil",
    "tempfile",
}


def imports_of(path: Path) -> list[tuple[str, int]]:
    """Absolute names of everything ``path`` imports, with the line."""
    package = path.relative_to(ROOT).with_suffix("").parts
    package = package[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            found += [(f"{module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def sources(package: Path) -> list[Path]:
    return sorted(path for path in package.rglob("*.py") if "versions" not in path.parts)


def test_the_client_never_imports_the_hub() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in sources(CLIENT)
        for name, line in imports_of(path)
        if name.split(".")[0] == "stablequeue_hub"
    ]
    assert wrong == []


def test_the_hub_imports_only_the_listed_parts_of_the_client() -> None:
    wrong = []
    for path in sources(HUB):
        for name, line in imports_of(path):
            parts = name.split(".")
            if parts[0] != "stablequeue_client":
                continue
            inner = parts[1] if len(parts) > 1 else ""
            if inner not in HUB_MAY_IMPORT and inner != "__version__":
                wrong.append(f"{path.relative_to(ROOT)}:{line} {name}")
    assert wrong == []


def test_only_the_webui_package_imports_a_host() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in sources(CLIENT) + sources(HUB)
        if "webui" not in path.relative_to(ROOT).parts
        for name, line in imports_of(path)
        if name.split(".")[0] in HOST_MODULES
    ]
    assert wrong == []


@pytest.mark.parametrize("module", PURE_CLIENT_MODULES)
def test_a_pure_module_imports_nothing_that_does_io(module: str) -> None:
    names = {name.split(".")[0] for name, _ in imports_of(CLIENT / f"{module}.py")}
    assert names & IMPURE == set()


def test_views_import_neither_agent_nor_hub() -> None:
    allowed = {"ui", "model_files", "protocol", "errors", "__version__"}
    wrong = []
    for path in sources(CLIENT / "ui"):
        for name, line in imports_of(path):
            parts = name.split(".")
            if parts[0] == "stablequeue_client" and len(parts) > 1 and parts[1] not in allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line} {name}")
    assert wrong == []


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


def needs_a_host(path: Path) -> bool:
    """Whether importing the file imports a host module: only where a tab or its callbacks are made."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] in HOST_MODULES:
                return True
            inner = ROOT.joinpath(*name.split(".")).with_suffix(".py")
            if name.startswith("stablequeue_client.webui.") and inner.is_file() and needs_a_host(inner):
                return True
    return False


def importable_modules() -> list[str]:
    names = []
    for package in (CLIENT, HUB):
        for path in sources(package):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[-1] == "__main__" or "migrations" in parts or parts[-1] == "env":
                continue
            if "webui" in parts and needs_a_host(path):
                continue
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


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


def test_only_a_few_files_of_the_extension_need_a_host_to_be_imported() -> None:
    """The rest is tested without one."""
    found = {path.stem for path in sources(CLIENT / "webui") if needs_a_host(path)}
    assert found <= {"tab", "register"}


def test_only_compat_asks_what_a_host_has() -> None:
    """Host modules are imported there and in its siblings alone, so differences between hosts can
    stand nowhere else."""
    hosts = HOST_MODULES - {"gradio"}
    wrong = [
        f"{path.name}:{line} imports {name}"
        for path in sources(CLIENT / "webui")
        if not path.stem.startswith("compat") and path.stem != "broken"
        for name, line in imports_of(path)
        if name.split(".")[0] in hosts
    ]
    assert wrong == []


MAIN_THREAD_MODULES = ["__init__", "loading", "compat", "callbacks", "loads", "page_parts"]


@pytest.mark.parametrize("module", MAIN_THREAD_MODULES)
def test_what_the_webui_s_main_thread_loads_is_the_standard_library_and_itself(module: str) -> None:
    tree = ast.parse((CLIENT / "webui" / f"{module}.py").read_text(encoding="utf-8"))
    allowed = {f"stablequeue_client.webui.{name}" for name in MAIN_THREAD_MODULES} | {
        "stablequeue_client",
        "stablequeue_client.webui",
    }
    wrong = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module not in allowed:
            if node.module.split(".")[0] not in sys.stdlib_module_names:
                wrong.append(node.module)
        elif isinstance(node, ast.Import):
            wrong += [x.name for x in node.names if x.name.split(".")[0] not in sys.stdlib_module_names]
    assert wrong == []


def test_tests_have_no_package_files() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
