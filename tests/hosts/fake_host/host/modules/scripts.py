"""Loading of ``scripts/*.py`` and the scripts of the two pages."""

from __future__ import annotations

import inspect
import os
import re
import sys
import time
from collections import namedtuple
from typing import Any

import gradio as gr
from fake_family import FORGE
from modules import errors, extensions, paths, script_callbacks, script_loading

AlwaysVisible = object()
ScriptFile = namedtuple("ScriptFile", ["basedir", "filename", "path"])
ScriptClassData = namedtuple("ScriptClassData", ["script_class", "path", "basedir", "module"])
scripts_data: list[ScriptClassData] = []
current_basedir = paths.script_path


class Script:
    filename: str | None = None
    args_from: int | None = None
    args_to: int | None = None
    alwayson = False
    is_txt2img = False
    is_img2img = False
    tabname: str | None = None
    section: str | None = None
    infotext_fields: Any = None
    setup_for_ui_only = False

    def setup(self, p: Any, *args: Any) -> None:
        pass

    def after_component(self, component: Any, **kwargs: Any) -> None:
        pass

    def title(self) -> str:
        raise NotImplementedError

    def ui(self, is_img2img: bool) -> Any:
        pass

    def show(self, is_img2img: bool) -> Any:
        return True

    def run(self, p: Any, *args: Any) -> Any:
        pass

    def elem_id(self, item_id: str) -> str:
        title = re.sub(r"[^a-z_0-9]", "", re.sub(r"\s", "_", self.title().lower()))
        return f"script_{self.tabname}_{title}_{item_id}"


class ScriptBuiltinUI(Script):
    setup_for_ui_only = True

    def elem_id(self, item_id: str) -> str:
        return f"{self.tabname}_{item_id}"

    def show(self, is_img2img: bool) -> Any:
        return AlwaysVisible


def basedir() -> str:
    return current_basedir


def list_scripts(scriptdirname: str, extension: str, *, include_extensions: bool = True) -> list[ScriptFile]:
    folders = [paths.script_path]
    if include_extensions:
        folders += [item.path for item in extensions.active()]
    found = []
    for base in folders:
        folder = os.path.join(base, scriptdirname)
        for filename in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if os.path.splitext(filename)[1].lower() == extension:
                found.append(ScriptFile(base, filename, os.path.join(folder, filename)))
    return found


def list_files_with_name(filename: str) -> list[str]:
    folders = [paths.script_path] + [item.path for item in extensions.active()]
    return [os.path.join(base, filename) for base in folders if os.path.isfile(os.path.join(base, filename))]


def load_scripts() -> None:
    global current_basedir, scripts_txt2img, scripts_img2img
    scripts_data.clear()
    script_callbacks.clear_callbacks()
    listed = list_scripts("scripts", ".py") + list_scripts(
        "modules/processing_scripts", ".py", include_extensions=False
    )
    for item in listed:
        if item.basedir not in sys.path:
            sys.path = [item.basedir, *sys.path]
    syspath = sys.path
    for item in listed:
        begun = time.thread_time()
        try:
            if item.basedir != paths.script_path:
                sys.path = [item.basedir, *sys.path]
            current_basedir = item.basedir
            module = script_loading.load_module(item.path)
            for value in module.__dict__.values():
                if inspect.isclass(value) and issubclass(value, Script):
                    scripts_data.append(ScriptClassData(value, item.path, item.basedir, module))
        except Exception:
            errors.report(f"Error loading script: {item.filename}", exc_info=True)
        finally:
            sys.path = syspath
            current_basedir = paths.script_path
            script_callbacks.note_seconds(item.path, begun)
    scripts_txt2img = ScriptRunner()
    scripts_img2img = ScriptRunner()


class ScriptRunner:
    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.selectable_scripts: list[Script] = []
        self.alwayson_scripts: list[Script] = []
        self.titles: list[str] = []
        self.infotext_fields: list[Any] = []
        self.inputs: list[Any] = [None]

    def initialize_scripts(self, is_img2img: bool) -> None:
        for kept in (self.scripts, self.alwayson_scripts, self.selectable_scripts):
            kept.clear()
        for data in scripts_data:
            try:
                script = data.script_class()
            except Exception:
                errors.report(f"Error # failed to initialize Script {data.module}: ", exc_info=True)
                continue
            script.filename = data.path
            script.is_img2img, script.is_txt2img = is_img2img, not is_img2img
            script.tabname = "img2img" if is_img2img else "txt2img"
            visibility = script.show(is_img2img)
            if visibility is AlwaysVisible:
                script.alwayson = True
                self.scripts.append(script)
                self.alwayson_scripts.append(script)
            elif visibility:
                self.scripts.append(script)
                self.selectable_scripts.append(script)

    def before_component(self, component: Any, **kwargs: Any) -> None:
        pass

    def after_component(self, component: Any, **kwargs: Any) -> None:
        for script in self.scripts:
            script.after_component(component, **kwargs)

    def prepare_ui(self) -> None:
        self.inputs = [None]

    def run(self, p: Any, *args: Any) -> Any:
        """The selected script's pictures; None when it leaves them to the host."""
        return self.selectable_scripts[args[0] - 1].run(p, *args) if args[0] else None

    def _create(self, script: Script) -> None:
        script.args_from = script.args_to = len(self.inputs)
        controls = script.ui(script.is_img2img)
        if controls is not None:
            self.inputs += list(controls)
            script.args_to = len(self.inputs)

    def setup_ui_for_section(self, section: str | None) -> None:
        for script in self.alwayson_scripts:
            if script.section == section:
                try:
                    self._create(script)
                except Exception:
                    errors.report(f"Error creating UI for {script.title()}", exc_info=True)

    def setup_ui(self) -> list[Any]:
        self.titles = [script.title() for script in self.selectable_scripts]
        self.setup_ui_for_section(None)
        dropdown = gr.Dropdown(
            label="Script", elem_id="script_list", choices=["None", *self.titles], value="None", type="index"
        )
        self.inputs[0] = dropdown
        for script in self.selectable_scripts:
            with gr.Group(visible=False) as group:
                self._create(script)
            script.group = group  # type: ignore[attr-defined]
        return self.inputs


scripts_txt2img: ScriptRunner = None  # type: ignore[assignment]
scripts_img2img: ScriptRunner = None  # type: ignore[assignment]
scripts_current: ScriptRunner | None = None

if FORGE:

    def reload_script_body_only() -> None:
        """Only Forge and A1111 have it; nothing of ours calls it."""
