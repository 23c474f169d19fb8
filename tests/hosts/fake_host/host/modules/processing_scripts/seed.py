import gradio as gr
from modules import scripts


class ScriptSeed(scripts.ScriptBuiltinUI):
    section = "sampler"

    def title(self):
        return "Seed"

    def ui(self, is_img2img):
        seed = gr.Number(label="Seed", value=-1, elem_id=f"{self.tabname}_seed", precision=0)
        checkbox = gr.Checkbox(label="Extra", elem_id=f"{self.tabname}_subseed_show", value=False)
        return seed, checkbox

    def setup(self, p, seed, seed_checkbox):
        p.seed = seed
