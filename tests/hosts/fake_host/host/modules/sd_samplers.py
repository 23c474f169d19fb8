"""Names of samplers; the A1111 family joins the scheduler to them."""

from __future__ import annotations

from fake_family import FORGE


class SamplerData:
    def __init__(self, name: str, aliases: list[str]) -> None:
        self.name = name
        self.aliases = aliases


_NAMES = ["DPM++ 2M", "Euler a", "Euler"] if FORGE else ["DPM++ 2M Karras", "Euler a", "Euler"]
all_samplers = [SamplerData(name, [name.lower().replace(" ", "_")]) for name in _NAMES]
all_samplers_map = {item.name: item for item in all_samplers}
samplers = all_samplers
samplers_for_img2img = all_samplers


def visible_sampler_names() -> list[str]:
    return [item.name for item in samplers]


if FORGE:

    def get_sampler_and_scheduler(sampler_name: str | None, scheduler_name: str | None) -> tuple[str, str]:
        """What is not there is replaced, without a word."""
        from modules import sd_schedulers

        schedule = sd_schedulers.schedulers_map.get(scheduler_name or "", sd_schedulers.schedulers[0])
        sampler = all_samplers_map.get(sampler_name or "", all_samplers[0])
        return sampler.name, schedule.label
