import gradio as gr
from fake_family import FORGE
from modules import scripts, sd_samplers


class ScriptSampler(scripts.ScriptBuiltinUI):
    section = "sampler"

    def title(self):
        return "Sampler"

    def ui(self, is_img2img):
        names = sd_samplers.visible_sampler_names()
        with gr.Row(elem_id=f"sampler_selection_{self.tabname}"):
            sampler = gr.Dropdown(
                label="Sampling method", elem_id=f"{self.tabname}_sampling", choices=names, value=names[0]
            )
            controls = [sampler]
            if FORGE:
                from modules import sd_schedulers

                labels = [x.label for x in sd_schedulers.schedulers]
                controls.append(
                    gr.Dropdown(
                        label="Schedule type",
                        elem_id=f"{self.tabname}_scheduler",
                        choices=labels,
                        value=labels[0],
                    )
                )
            steps = gr.Slider(
                minimum=1,
                maximum=150,
                step=1,
                elem_id=f"{self.tabname}_steps",
                label="Sampling steps",
                value=20,
            )
        return [steps, *controls]

    def setup(self, p, steps, sampler_name, scheduler=None):
        p.steps = steps
        p.sampler_name = sampler_name
        if FORGE:
            p.scheduler = scheduler
