import gradio as gr
from modules import scripts, sd_models


class ScriptRefiner(scripts.ScriptBuiltinUI):
    section = "accordions"

    def title(self):
        return "Refiner"

    def ui(self, is_img2img):
        with gr.Accordion("Refiner", open=False):
            enable = gr.Checkbox(False, label="Refiner", elem_id=self.elem_id("enable"))
            checkpoint = gr.Dropdown(
                label="Checkpoint",
                elem_id=self.elem_id("checkpoint"),
                choices=["", *sd_models.checkpoint_tiles(use_short=True)],
                value="",
            )
            switch_at = gr.Slider(
                value=0.8,
                label="Switch at",
                minimum=0.01,
                maximum=1.0,
                step=0.01,
                elem_id=self.elem_id("switch_at"),
            )
        return enable, checkpoint, switch_at

    def setup(self, p, enable_refiner, refiner_checkpoint, refiner_switch_at):
        if not enable_refiner or refiner_checkpoint in (None, "", "None"):
            p.refiner_checkpoint = None
            p.refiner_switch_at = None
        else:
            p.refiner_checkpoint = refiner_checkpoint
            p.refiner_switch_at = refiner_switch_at
