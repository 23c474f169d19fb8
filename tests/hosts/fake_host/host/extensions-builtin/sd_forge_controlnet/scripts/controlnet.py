import gradio as gr
from lib_controlnet import global_state
from modules import scripts


class ControlNetForForgeOfficial(scripts.Script):
    def title(self):
        return "ControlNet"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        with gr.Accordion(label="ControlNet", open=False, elem_id="controlnet"):
            model = gr.Dropdown(label="Model", choices=global_state.get_all_controlnet_names(), value="None")
            unit = gr.State({"enabled": False})
        return unit, model
