"""Nothing lies about that nobody uses; what tests alone use counts as unused. Exceptions: pyproject.toml.

Fields of messages are read by whoever gets the JSON, fields of views by templates and scripts.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

from vulture import Vulture

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
READ_BY_NAME = ("stablequeue_client/shared/views/templates/*.html", "javascript/*.js")


def named_in_pages() -> set[str]:
    texts = (path.read_text(encoding="utf-8") for pattern in READ_BY_NAME for path in ROOT.glob(pattern))
    return {word for text in texts for word in re.findall(r"\w+", text)}


def fields_of_messages(path: Path) -> set[int]:
    """The lines of the fields of msgspec's structs."""
    classes = [
        node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ClassDef)
    ]
    structs = [one for one in classes if any(ast.unparse(base).endswith("Struct") for base in one.bases)]
    return {field.lineno for one in structs for field in one.body if isinstance(field, ast.AnnAssign)}


def test_all_code_is_used() -> None:
    chosen: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["vulture"]
    vulture = Vulture(ignore_names=chosen["ignore_names"], ignore_decorators=chosen["ignore_decorators"])
    vulture.scavenge([ROOT / path for path in chosen["paths"]], exclude=chosen["exclude"])
    named = named_in_pages()
    unused = [
        f"{item.filename.relative_to(ROOT)}:{item.first_lineno} {item.message}"
        for item in vulture.get_unused_code(min_confidence=chosen["min_confidence"])
        if item.typ != "variable"
        or (item.name not in named and item.first_lineno not in fields_of_messages(Path(item.filename)))
    ]
    assert unused == []
