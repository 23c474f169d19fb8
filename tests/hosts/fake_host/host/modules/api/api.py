"""The functions of the hosts' API with which it makes a generation of a form."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import gradio as gr
from fastapi.exceptions import HTTPException
from PIL import Image


def script_name_to_index(name: str, scripts: list[Any]) -> int:
    try:
        return [script.title().lower() for script in scripts].index(name.lower())
    except Exception as error:
        raise HTTPException(status_code=422, detail=f"Script '{name}' not found") from error


def decode_base64_to_image(encoding: str) -> Image.Image:
    assert not encoding.startswith(("http://", "https://")), "the fake has no network"
    if encoding.startswith("data:image/"):
        encoding = encoding.split(";")[1].split(",")[1]
    try:
        return Image.open(BytesIO(base64.b64decode(encoding)))
    except Exception as error:
        raise HTTPException(status_code=500, detail="Invalid encoded image") from error


class Api:
    def __init__(self, app: Any, queue_lock: Any) -> None:
        raise AssertionError("an extension does not make an API of its own")

    def get_selectable_script(self, script_name: str | None, script_runner: Any) -> tuple[Any, Any]:
        if script_name is None or script_name == "":
            return None, None
        index = script_name_to_index(script_name, script_runner.selectable_scripts)
        return script_runner.selectable_scripts[index], index

    def get_script(self, script_name: str, script_runner: Any) -> Any:
        return script_runner.scripts[script_name_to_index(script_name, script_runner.scripts)]

    def init_default_script_args(self, script_runner: Any) -> list[Any]:
        last = max([1, *(script.args_to for script in script_runner.scripts)])
        arguments: list[Any] = [0, *([None] * (last - 1))]
        with gr.Blocks():
            for script in script_runner.scripts:
                controls = script.ui(script.is_img2img)
                if controls:
                    arguments[script.args_from : script.args_to] = [one.value for one in controls]
        return arguments

    def init_script_args(
        self,
        request: Any,
        default_script_args: list[Any],
        selectable_scripts: Any,
        selectable_idx: Any,
        script_runner: Any,
        *,
        input_script_args: dict[int, Any] | None = None,
    ) -> list[Any]:
        arguments = default_script_args.copy()
        if selectable_scripts:
            arguments[selectable_scripts.args_from : selectable_scripts.args_to] = request.script_args
            arguments[0] = selectable_idx + 1
        for name, given in (request.alwayson_scripts or {}).items():
            script = self.get_script(name, script_runner)
            if not script.alwayson:
                raise HTTPException(status_code=422, detail="Cannot have a selectable script in always on")
            for number, value in enumerate(given.get("args", [])[: script.args_to - script.args_from]):
                arguments[script.args_from + number] = value
        return arguments
