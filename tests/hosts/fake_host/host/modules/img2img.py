"""The page's generations from a picture: of its modes img2img (0) and inpaint with a mask of its own (4)."""

from __future__ import annotations

from typing import Any

import gradio as gr
from fake_family import FORGE
from modules import scripts, shared
from modules.infotext_utils import create_override_settings_dict
from modules.processing import StableDiffusionProcessingImg2Img
from modules.txt2img import pretend


def img2img_function(
    id_task: str,
    request: gr.Request,
    mode: int,
    prompt: str,
    negative_prompt: str,
    prompt_styles: Any,
    init_img: Any,
    init_img_inpaint: Any,
    init_mask_inpaint: Any,
    n_iter: int,
    batch_size: int,
    cfg_scale: float,
    height: int,
    width: int,
    denoising_strength: float,
    override_settings_texts: Any,
    *args: Any,
) -> Any:
    override_settings = create_override_settings_dict(override_settings_texts)
    image, mask = (init_img_inpaint, init_mask_inpaint) if mode == 4 else (init_img, None)
    if mask is not None:
        mask = mask.convert("L").point(lambda value: 255 if value > 128 else 0)
    p = StableDiffusionProcessingImg2Img(
        **({} if FORGE else {"sd_model": shared.sd_model}),
        outpath_samples=shared.opts.outdir_samples or shared.opts.outdir_img2img_samples,
        outpath_grids=shared.opts.outdir_grids or shared.opts.outdir_img2img_grids,
        prompt=prompt,
        negative_prompt=negative_prompt,
        styles=prompt_styles,
        batch_size=batch_size,
        n_iter=n_iter,
        cfg_scale=cfg_scale,
        width=width,
        height=height,
        init_images=[image],
        mask=mask,
        denoising_strength=denoising_strength,
        override_settings=override_settings,
    )
    p.scripts, p.script_args, p.user = scripts.scripts_img2img, args, request.username
    return pretend(p.prompt, p.negative_prompt)


def img2img(id_task: str, request: gr.Request, mode: int, *args: Any) -> Any:
    return img2img_function(id_task, request, mode, *args)
