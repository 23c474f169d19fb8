"""The page: txt2img, img2img, the extensions' tabs and the settings, with the hosts' element ids."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

import gradio as gr
from fake_family import FORGE
from modules import (
    img2img,
    infotext_utils,
    script_callbacks,
    scripts,
    sd_models,
    sd_samplers,
    shared,
    txt2img,
    ui_extra_networks,
    ui_settings,
)
from modules.call_queue import wrap_gradio_gpu_call
from modules.ui_gradio_extensions import reload_javascript


def js(code: str) -> dict[str, str]:
    return {"js" if FORGE else "_js": code}


class ToolButton(gr.Button):
    @wraps(gr.Button.__init__)  # Gradio 4 describes to the page what the signature names
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, elem_classes=["tool", *kwargs.pop("elem_classes", [])], **kwargs)

    def get_block_name(self) -> str:
        return "button"


class Toprow:
    """Prompts, Generate and styles above a page."""

    def __init__(self, tabname: str) -> None:
        with gr.Row(elem_id=f"{tabname}_toprow", variant="compact"):
            with gr.Column(elem_id=f"{tabname}_prompt_container", scale=6):
                with gr.Row(elem_id=f"{tabname}_prompt_row", elem_classes=["prompt-row"]):
                    self.prompt = self._prompt("Prompt", f"{tabname}_prompt")
                with gr.Row(elem_id=f"{tabname}_neg_prompt_row", elem_classes=["prompt-row"]):
                    self.negative_prompt = self._prompt("Negative prompt", f"{tabname}_neg_prompt")
            with gr.Column(scale=1, elem_id=f"{tabname}_actions_column"):
                with gr.Row(elem_id=f"{tabname}_generate_box", elem_classes=["generate-box"]):
                    interrupt = gr.Button(
                        "Interrupt", elem_id=f"{tabname}_interrupt", elem_classes="generate-box-interrupt"
                    )
                    skip = gr.Button("Skip", elem_id=f"{tabname}_skip", elem_classes="generate-box-skip")
                    self.submit = gr.Button("Generate", elem_id=f"{tabname}_generate", variant="primary")
                    skip.click(fn=shared.state.skip)
                    interrupt.click(fn=shared.state.interrupt)
                with gr.Row(elem_id=f"{tabname}_tools"):
                    self.paste = ToolButton("\u2199\ufe0f", elem_id="paste")
                    ToolButton("\U0001f5d1\ufe0f", elem_id=f"{tabname}_clear_prompt")
                with gr.Row(elem_id=f"{tabname}_styles_row"):
                    self.styles = gr.Dropdown(
                        label="Styles",
                        show_label=False,
                        elem_id=f"{tabname}_styles",
                        choices=list(shared.prompt_styles.styles),
                        value=[],
                        multiselect=True,
                    )
                    ToolButton("\U0001f58c\ufe0f", elem_id=f"{tabname}_styles_edit_button")

    @staticmethod
    def _prompt(label: str, elem_id: str) -> gr.Textbox:
        return gr.Textbox(
            label=label,
            elem_id=elem_id,
            show_label=False,
            lines=3,
            placeholder=label,
            elem_classes=["prompt"],
            value="",
        )


class InputAccordion(gr.Checkbox):
    """The hosts' accordion with a checkbox in its head."""

    def __init__(self, value: bool, label: str, elem_id: str) -> None:
        super().__init__(value, label=label, elem_id=f"{elem_id}-checkbox", visible=False)
        self.accordion = gr.Accordion(label, open=value, elem_id=elem_id, elem_classes=["input-accordion"])

    def get_block_name(self) -> str:
        return "checkbox"


def _size(tabname: str) -> list[Any]:
    with gr.Row():
        with gr.Column(elem_id=f"{tabname}_column_size", scale=4):
            width = gr.Slider(
                minimum=64, maximum=2048, step=8, label="Width", value=512, elem_id=f"{tabname}_width"
            )
            height = gr.Slider(
                minimum=64, maximum=2048, step=8, label="Height", value=512, elem_id=f"{tabname}_height"
            )
        with gr.Column(elem_id=f"{tabname}_column_batch"):
            count = gr.Slider(
                minimum=1, step=1, label="Batch count", value=1, elem_id=f"{tabname}_batch_count"
            )
            size = gr.Slider(
                minimum=1, maximum=8, step=1, label="Batch size", value=1, elem_id=f"{tabname}_batch_size"
            )
    cfg = gr.Slider(
        minimum=1.0, maximum=30.0, step=0.1, label="CFG Scale", value=7.0, elem_id=f"{tabname}_cfg_scale"
    )
    return [count, size, cfg, height, width]


def _hires() -> list[Any]:
    enable = InputAccordion(False, label="Hires. fix", elem_id="txt2img_hr")
    with enable.accordion:
        with gr.Row(elem_id="txt2img_hires_fix_row1", variant="compact"):
            upscaler = gr.Dropdown(
                label="Upscaler",
                elem_id="txt2img_hr_upscaler",
                choices=[*shared.latent_upscale_modes, *[x.name for x in shared.sd_upscalers]],
                value=shared.latent_upscale_default_mode,
            )
            steps = gr.Slider(
                minimum=0, maximum=150, step=1, label="Hires steps", value=0, elem_id="txt2img_hires_steps"
            )
        with gr.Row(
            elem_id="txt2img_hires_fix_row3", variant="compact", visible=shared.opts.hires_fix_show_sampler
        ):
            same = "Use same checkpoint"
            checkpoint = gr.Dropdown(
                label="Hires Checkpoint",
                elem_id="hr_checkpoint",
                choices=[same, *sd_models.checkpoint_tiles(use_short=True)],
                value=same,
            )
            found = [upscaler, steps, checkpoint]
            if FORGE:
                from modules_forge import main_entry

                found.append(
                    gr.Dropdown(
                        label="Hires VAE / Text Encoder",
                        elem_id="hr_vae_te",
                        choices=["Use same choices", *main_entry.refresh_models()[1]],
                        value=["Use same choices"],
                        multiselect=True,
                    )
                )
            names = ["Use same sampler", *sd_samplers.visible_sampler_names()]
            found.append(
                gr.Dropdown(
                    label="Hires sampling method", elem_id="hr_sampler", choices=names, value=names[0]
                )
            )
        with gr.Row(
            elem_id="txt2img_hires_fix_row4", variant="compact", visible=shared.opts.hires_fix_show_prompts
        ):
            for label, elem_id in (
                ("Hires prompt", "hires_prompt"),
                ("Hires negative prompt", "hires_neg_prompt"),
            ):
                found.append(
                    gr.Textbox(
                        label=label, elem_id=elem_id, show_label=False, lines=3, elem_classes=["prompt"]
                    )
                )
    return [enable, *found]


def _output(tabname: str) -> list[Any]:
    with gr.Column(variant="panel", elem_id=f"{tabname}_results"):
        gallery = gr.Gallery(label="Output", show_label=False, elem_id=f"{tabname}_gallery", columns=4)
        info = gr.Textbox(visible=False, elem_id=f"generation_info_{tabname}")
        infotext = gr.HTML(elem_id=f"html_info_{tabname}", elem_classes="infotext")
        log = gr.HTML(elem_id=f"html_log_{tabname}", elem_classes="html-log")
    return [gallery, info, infotext, log]


def _page(tabname: str, runner: scripts.ScriptRunner, inside: Callable[[list[Any]], list[Any]]) -> gr.Blocks:
    scripts.scripts_current = runner
    runner.initialize_scripts(is_img2img=tabname == "img2img")
    with gr.Blocks(analytics_enabled=False) as interface:
        toprow = Toprow(tabname)
        task = gr.Textbox(visible=False)
        # Which tab of img2img is open: Forge keeps it in a component, the others have their script say it.
        mode = [] if tabname == "txt2img" else [gr.Number(0, visible=False, precision=0)]
        with gr.Tabs(elem_id=f"{tabname}_extra_tabs", elem_classes=["extra-networks"]):
            with gr.Tab("Generation", id=f"{tabname}_generation") as generation, gr.Row(equal_height=False):
                with gr.Column(variant="compact", elem_id=f"{tabname}_settings"):
                    runner.prepare_ui()
                    runner.setup_ui_for_section("sampler")
                    middle = inside(mode)
                    with gr.Row(elem_id=f"{tabname}_accordions", elem_classes="accordions"):
                        hires = _hires() if tabname == "txt2img" else []
                        runner.setup_ui_for_section("accordions")
                    override = gr.Dropdown(
                        [],
                        label="Override settings",
                        visible=False,
                        elem_id=f"{tabname}_override_settings",
                        multiselect=True,
                    )
                    with gr.Group(elem_id=f"{tabname}_script_container"):
                        custom = runner.setup_ui()
                outputs = _output(tabname)
            ui_extra_networks.create_ui(interface, generation, tabname, js)
        inputs = [
            task,
            *mode,
            toprow.prompt,
            toprow.negative_prompt,
            toprow.styles,
            *middle,
            *hires,
            override,
            *custom,
        ]

        generate = txt2img.txt2img if tabname == "txt2img" else img2img.img2img
        event = {
            "fn": wrap_gradio_gpu_call(generate),
            "inputs": inputs,
            "outputs": outputs,
            "show_progress": False,
            **js("submit" if tabname == "txt2img" else "submit_img2img"),
        }
        toprow.prompt.submit(**event)
        toprow.submit.click(**event)
        fields = [(toprow.prompt, "Prompt"), (toprow.negative_prompt, "Negative prompt")]
        infotext_utils.connect_paste(toprow.paste, fields, toprow.prompt, js(f"switch_to_{tabname}"))
        if not FORGE:  # it takes no text beside a negative prompt
            toprow.negative_prompt.change(
                fn=lambda text: gr.update(interactive=not text),
                inputs=[toprow.negative_prompt],
                outputs=[toprow.paste],
            )
    scripts.scripts_current = None
    return interface


def _img2img(mode: list[Any]) -> list[Any]:
    def picture(elem_id: str) -> Any:
        return gr.Image(label=elem_id, elem_id=elem_id, show_label=False, interactive=True, type="pil")

    with gr.Tabs(elem_id="mode_img2img"):
        with gr.TabItem("img2img", id="img2img", elem_id="img2img_img2img_tab") as first:
            image = picture("img2img_image")
        others = []
        for name in ("Sketch", "Inpaint", "Inpaint sketch"):
            with gr.TabItem(name, id=name) as other:
                gr.HTML(name)
            others.append(other)
        with gr.TabItem("Inpaint upload", id="inpaint_upload", elem_id="img2img_inpaint_upload_tab") as last:
            inpaint = [picture("img_inpaint_base"), picture("img_inpaint_mask")]
    for number, tab in enumerate((first, *others, last)) if FORGE else ():
        tab.select(fn=lambda chosen=number: chosen, inputs=[], outputs=mode)
    strength = gr.Slider(
        minimum=0.0,
        maximum=1.0,
        step=0.01,
        label="Denoising strength",
        value=0.75,
        elem_id="img2img_denoising_strength",
    )
    return [image, *inpaint, *_size("img2img"), strength]


def create_ui() -> gr.Blocks:
    reload_javascript()
    settings = ui_settings.UiSettings()
    settings.register_settings()
    txt2img_interface = _page("txt2img", scripts.scripts_txt2img, lambda _: _size("txt2img"))
    img2img_interface = _page("img2img", scripts.scripts_img2img, _img2img)
    with gr.Blocks(analytics_enabled=False) as extras_interface:
        gr.Button("Generate", elem_id="extras_generate", variant="primary")
    settings.create_ui()

    interfaces = [
        (txt2img_interface, "Txt2img" if FORGE else "txt2img", "txt2img"),
        (img2img_interface, "Img2img" if FORGE else "img2img", "img2img"),
        (extras_interface, "Extras", "extras"),
    ]
    interfaces += script_callbacks.ui_tabs_callback()
    interfaces.append((settings.interface, "Settings", "settings"))
    shared.tab_names = [label for _, label, _ in interfaces]

    with gr.Blocks(analytics_enabled=False, title="Stable Diffusion") as demo:
        with gr.Row(elem_id="quicksettings", variant="compact"):
            settings.add_quicksettings()
        with gr.Tabs(elem_id="tabs"):
            for interface, label, ifid in interfaces:
                with gr.TabItem(label, id=ifid, elem_id=f"tab_{ifid}"):
                    interface.render()
        gr.HTML("<div class='versions'>fake host</div>", elem_id="footer")
        settings.add_functionality(demo)
    return demo


def setup_ui_api(app: Any) -> None:
    app.add_api_route("/internal/ping", lambda: {}, methods=["GET"])


def data_file(name: str) -> str:
    return os.path.join(shared.data_path, name)
