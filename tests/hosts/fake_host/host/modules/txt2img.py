"""The page's generations, with the hosts' named inputs. No picture: it says what it was asked for."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr
from fake_family import FORGE
from modules import processing, shared
from modules.infotext_utils import create_override_settings_dict

if FORGE:

    def txt2img_create_processing(
        id_task: str,
        request: gr.Request,
        prompt: str,
        negative_prompt: str,
        prompt_styles: Any,
        n_iter: int,
        batch_size: int,
        cfg_scale: float,
        height: int,
        width: int,
        enable_hr: bool,
        hr_upscaler: str,
        hr_second_pass_steps: int,
        hr_checkpoint_name: str,
        hr_additional_modules: list[str],
        hr_sampler_name: str,
        hr_prompt: str,
        hr_negative_prompt: str,
        override_settings_texts: Any,
        *args: Any,
        force_enable_hr: bool = False,
    ) -> Any:
        p = processing.StableDiffusionProcessingTxt2Img(
            outpath_samples=shared.opts.outdir_samples or shared.opts.outdir_txt2img_samples,
            outpath_grids=shared.opts.outdir_grids or shared.opts.outdir_txt2img_grids,
            prompt=prompt,
            styles=prompt_styles,
            negative_prompt=negative_prompt,
            batch_size=batch_size,
            n_iter=n_iter,
            cfg_scale=cfg_scale,
            width=width,
            height=height,
            enable_hr=enable_hr or force_enable_hr,
            hr_upscaler=hr_upscaler,
            hr_second_pass_steps=hr_second_pass_steps,
            hr_checkpoint_name=None if hr_checkpoint_name == "Use same checkpoint" else hr_checkpoint_name,
            hr_additional_modules=hr_additional_modules,
            hr_sampler_name=None if hr_sampler_name == "Use same sampler" else hr_sampler_name,
            hr_prompt=hr_prompt,
            hr_negative_prompt=hr_negative_prompt,
            override_settings=create_override_settings_dict(override_settings_texts),
        )
        return _with_scripts(p, request, args)
else:

    def txt2img_create_processing(  # type: ignore[misc]
        id_task: str,
        request: gr.Request,
        prompt: str,
        negative_prompt: str,
        prompt_styles: Any,
        n_iter: int,
        batch_size: int,
        cfg_scale: float,
        height: int,
        width: int,
        enable_hr: bool,
        hr_upscaler: str,
        hr_second_pass_steps: int,
        hr_checkpoint_name: str,
        hr_sampler_name: str,
        hr_prompt: str,
        hr_negative_prompt: str,
        override_settings_texts: Any,
        *args: Any,
        force_enable_hr: bool = False,
    ) -> Any:
        p = processing.StableDiffusionProcessingTxt2Img(
            sd_model=shared.sd_model,
            outpath_samples=shared.opts.outdir_samples or shared.opts.outdir_txt2img_samples,
            outpath_grids=shared.opts.outdir_grids or shared.opts.outdir_txt2img_grids,
            prompt=prompt,
            styles=prompt_styles,
            negative_prompt=negative_prompt,
            batch_size=batch_size,
            n_iter=n_iter,
            cfg_scale=cfg_scale,
            width=width,
            height=height,
            enable_hr=enable_hr or force_enable_hr,
            hr_upscaler=hr_upscaler,
            hr_second_pass_steps=hr_second_pass_steps,
            hr_checkpoint_name=None if hr_checkpoint_name == "Use same checkpoint" else hr_checkpoint_name,
            hr_sampler_name=None if hr_sampler_name == "Use same sampler" else hr_sampler_name,
            hr_prompt=hr_prompt,
            hr_negative_prompt=hr_negative_prompt,
            override_settings=create_override_settings_dict(override_settings_texts),
        )
        return _with_scripts(p, request, args)


def _with_scripts(p: Any, request: gr.Request, args: tuple[Any, ...]) -> Any:
    from modules import scripts

    p.scripts, p.script_args, p.user = scripts.scripts_txt2img, args, request.username
    return p


def pretend(prompt: str, negative_prompt: str) -> tuple[Any, str, str, str]:
    """Take a moment, as a generation does."""
    shared.state.sampling_steps = 5
    for step in range(5):
        if shared.state.interrupted:
            break
        shared.state.sampling_step = step
        time.sleep(0.05)
    return None, "{}", f"{prompt}\nNegative prompt: {negative_prompt}\nSteps: 5", "done"


def txt2img(id_task: str, request: gr.Request, *args: Any) -> tuple[Any, str, str, str]:
    p = txt2img_create_processing(id_task, request, *args)
    return pretend(p.prompt, p.negative_prompt)
