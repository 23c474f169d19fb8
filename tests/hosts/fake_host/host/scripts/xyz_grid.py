import gradio as gr
from modules import scripts


class Script(scripts.Script):
    def title(self):
        return "X/Y/Z plot"

    def ui(self, is_img2img):
        return [gr.Textbox(label="X values", elem_id=self.elem_id("x_values"))]
