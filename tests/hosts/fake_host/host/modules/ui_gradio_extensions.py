"""Script tags for every ``javascript/*.js`` and style sheets of host and extensions, put into the page."""

from __future__ import annotations

import os
from typing import Any

import gradio as gr
from modules import scripts, util
from modules.paths import script_path

_original = gr.routes.templates.TemplateResponse


def webpath(fn: str) -> str:
    return f"file={util.truncate_path(fn)}?{os.path.getmtime(fn)}"


def javascript_html() -> str:
    files = [os.path.join(script_path, "script.js")]
    files += [item.path for item in scripts.list_scripts("javascript", ".js")]
    return "".join(f'<script type="text/javascript" src="{webpath(path)}"></script>\n' for path in files)


def css_html() -> str:
    files = scripts.list_files_with_name("style.css")
    return "".join(f'<link rel="stylesheet" property="stylesheet" href="{webpath(path)}">' for path in files)


def reload_javascript() -> None:
    js, css = javascript_html(), css_html()

    def template_response(*args: Any, **kwargs: Any) -> Any:
        answer = _original(*args, **kwargs)
        answer.body = answer.body.replace(b"</head>", f"{js}</head>".encode())
        answer.body = answer.body.replace(b"</body>", f"{css}</body>".encode())
        answer.init_headers()
        return answer

    gr.routes.templates.TemplateResponse = template_response
