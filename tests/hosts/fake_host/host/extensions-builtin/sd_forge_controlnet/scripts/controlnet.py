import gradio as gr
from gradio.context import Context
from lib_controlnet import global_state
from modules import scripts


class ControlNetForForgeOfficial(scripts.Script):
    generate = None

    def after_component(self, component, **_):
        if component.elem_id == f"{self.tabname}_generate":
            self.generate = component

    def title(self):
        return "ControlNet"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        with gr.Accordion(label="ControlNet", open=False, elem_id="controlnet"):
            model = gr.Dropdown(label="Model", choices=global_state.get_all_controlnet_names(), value="None")
            enable = gr.Checkbox(False, label="Enable", elem_id=f"{self.tabname}_controlnet_enable")
            unit = gr.State({"enabled": False})
            root = Context.root_block
            if self.generate is not None and root is not None and self.generate._id in root.blocks:
                # As there: a click on Generate puts the unit together.
                self.generate.click(
                    fn=lambda enabled: {"enabled": enabled}, inputs=[enable], outputs=unit, queue=False
                )
        return unit, model
