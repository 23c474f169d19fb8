"""The settings page, with Apply and "Reload UI"."""

from __future__ import annotations

from typing import Any

import gradio as gr
from fake_family import FORGE
from modules import script_callbacks, sd_models, shared
from modules.shared import opts


def create_setting_component(key: str) -> Any:
    info = opts.data_labels[key]
    args = info.component_args() if callable(info.component_args) else info.component_args
    kinds = {str: gr.Textbox, int: gr.Number, bool: gr.Checkbox}
    if info.component is None and type(info.default) not in kinds:
        raise Exception(f"bad options item type: {type(info.default)} for key {key}")
    component = info.component or kinds[type(info.default)]

    def value() -> Any:
        return opts.data.get(key, info.default)

    return component(label=info.label, value=value(), elem_id=f"setting_{key}", **(args or {}))


class UiSettings:
    def __init__(self) -> None:
        self.components: list[Any] = []
        self.keys: list[str] = []

    def register_settings(self) -> None:
        script_callbacks.ui_settings_callback()

    def run_settings(self, *args: Any) -> tuple[str, str]:
        changed = []
        for key, value in zip(self.keys, args, strict=True):
            assert opts.same_type(value, opts.data_labels[key].default), (
                f"Bad value for setting {key}: {value}"
            )
        for key, value in zip(self.keys, args, strict=True):
            if opts.set(key, value):
                changed.append(key)
        opts.save(shared.config_filename)
        return opts.dumpjson(), f"{len(changed)} settings changed: {', '.join(changed)}."

    def create_ui(self) -> None:
        self.keys, self.components = [], []
        opts.reorder()
        by_section: dict[tuple[str, str], list[str]] = {}
        for key, info in opts.data_labels.items():
            assert info.section is not None, f"option {key} has no section"
            if info.section[0] is not None and key != "sd_model_checkpoint":
                by_section.setdefault(info.section, []).append(key)
        with gr.Blocks(analytics_enabled=False) as self.interface:
            with gr.Row():
                self.submit = gr.Button(value="Apply settings", variant="primary", elem_id="settings_submit")
                restart = gr.Button(value="Reload UI", variant="primary", elem_id="settings_restart_gradio")
            self.result = gr.HTML(elem_id="settings_result")
            with gr.Tabs(elem_id="settings"):
                for (section, text), keys in by_section.items():
                    with (
                        gr.TabItem(elem_id=f"settings_{section}", label=text),
                        gr.Column(elem_id=f"column_settings_{section}", variant="compact"),
                    ):
                        for key in keys:
                            component = create_setting_component(key)
                            if not opts.data_labels[key].do_not_save:
                                self.keys.append(key)
                                self.components.append(component)
            self.text_settings = gr.Textbox(
                elem_id="settings_json", value=lambda: opts.dumpjson(), visible=False
            )
            restart.click(
                fn=shared.state.request_restart,
                inputs=[],
                outputs=[],
                **{"js" if FORGE else "_js": "restart_reload"},
            )

    def add_quicksettings(self) -> None:
        if FORGE:
            from modules_forge import main_entry

            main_entry.make_checkpoint_manager_ui()
            return
        names = sd_models.checkpoint_tiles()
        if not opts.sd_model_checkpoint and names:
            opts.set("sd_model_checkpoint", names[0])
        choice = gr.Dropdown(
            label="Stable Diffusion checkpoint",
            value=lambda: opts.sd_model_checkpoint,
            choices=names,
            elem_id="setting_sd_model_checkpoint",
        )
        choice.change(fn=lambda value: opts.set("sd_model_checkpoint", value) and None, inputs=[choice])

    def add_functionality(self, demo: Any) -> None:
        self.submit.click(
            fn=self.run_settings, inputs=self.components, outputs=[self.text_settings, self.result]
        )
