"""What a page's "Override settings" means."""

from __future__ import annotations

import re
from typing import Any

import gradio as gr
from modules import shared


def create_override_settings_dict(text_pairs: list[str]) -> dict[str, Any]:
    params = {key: value.strip() for key, _, value in (pair.partition(":") for pair in text_pairs or [])}
    names = [(info.infotext, key) for key, info in shared.opts.data_labels.items() if info.infotext]
    found = {}
    for label, key in names:
        if label in params:
            default = shared.opts.data_labels[key].default
            found[key] = params[label] if default is None else type(default)(params[label])
    return found


def parse_generation_parameters(text: str) -> dict[str, str]:
    prompt, _, last = text.rpartition("\n")
    if not re.match(r"[A-Z][\w ]*: ", last):
        prompt, last = text, ""
    prompt, _, negative = prompt.partition("\nNegative prompt: ")
    found = dict(re.findall(r'([A-Z][\w ]*): ("[^"]*"|[^,]*)', last))
    return {**found, "Prompt": prompt, "Negative prompt": negative}


def connect_paste(button: Any, fields: list[tuple[Any, str]], source: Any, switch: dict[str, str]) -> None:
    """What a generation text in the prompt says goes into the page; then the page is shown."""

    def paste(text: str) -> list[Any]:
        params = parse_generation_parameters(text)
        return [gr.update(value=params[name]) if name in params else gr.update() for _, name in fields]

    button.click(fn=paste, inputs=[source], outputs=[field for field, _ in fields], show_progress=False)
    button.click(fn=None, inputs=None, outputs=None, show_progress=False, **switch)
