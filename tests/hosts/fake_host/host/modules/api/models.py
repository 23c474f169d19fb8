"""The forms of the hosts' own API, with the fields that matter here."""

from __future__ import annotations

from typing import Any

from fake_family import FORGE
from pydantic import BaseModel


class _Common(BaseModel):
    prompt: str = ""
    negative_prompt: str = ""
    styles: list[str] | None = None
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0
    sampler_name: str | None = None
    sampler_index: str = "Euler"
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    denoising_strength: float | None = None
    override_settings: dict[str, Any] | None = None
    override_settings_restore_afterwards: bool = True
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    script_name: str | None = None
    script_args: list[Any] = []
    send_images: bool = True
    save_images: bool = False
    alwayson_scripts: dict[str, Any] = {}
    force_task_id: str | None = None
    infotext: str | None = None


class _Txt2Img(_Common):
    enable_hr: bool = False
    hr_scale: float = 2.0
    hr_upscaler: str | None = None
    hr_checkpoint_name: str | None = None


class _Img2Img(_Common):
    init_images: list[Any] | None = None
    mask: str | None = None
    include_init_images: bool = False


if FORGE:

    class StableDiffusionTxt2ImgProcessingAPI(_Txt2Img):
        scheduler: str | None = None
        distilled_cfg_scale: float = 3.5
        hr_scheduler: str | None = None
        hr_additional_modules: list[str] | None = None
        hr_cfg: float = 1.0

    class StableDiffusionImg2ImgProcessingAPI(_Img2Img):
        scheduler: str | None = None
        distilled_cfg_scale: float = 3.5
else:

    class StableDiffusionTxt2ImgProcessingAPI(_Txt2Img):  # type: ignore[no-redef]
        pass

    class StableDiffusionImg2ImgProcessingAPI(_Img2Img):  # type: ignore[no-redef]
        pass
