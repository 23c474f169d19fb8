"""How our script learns what txt2img and img2img would generate with, without asking Python.

When the host's page is complete, each component that names models or samplers gets a change event that only
runs in the browser, and each tab a hidden button whose event, in the browser too, hands our script the values
of all of them. The host's queue and threads see nothing of it.
"""

from __future__ import annotations

import json
from typing import Any

from stablequeue_client.webui.host.compat import Host
from stablequeue_client.webui.host.page_parts import Page, hidden_button

TABS = ("txt2img", "img2img")
_IN_EACH_TAB = {
    "{tab}_prompt": "prompt",
    "{tab}_neg_prompt": "negative_prompt",
    "{tab}_styles": "styles",
    "{tab}_override_settings": "override_settings_texts",
    "{tab}_enable-checkbox": "enable_refiner",
    "{tab}_checkpoint": "refiner_checkpoint",
    "{tab}_sampling": "sampler_name",
    "{tab}_scheduler": "scheduler",
}
_IN_TXT2IMG = {
    "txt2img_hr-checkbox": "enable_hr",
    "hr_checkpoint": "hr_checkpoint_name",
    "hr_vae_te": "hr_additional_modules",
    "hires_prompt": "hr_prompt",
    "hires_neg_prompt": "hr_negative_prompt",
    "hr_sampler": "hr_sampler_name",
    "hr_scheduler": "hr_scheduler",
    "txt2img_hr_upscaler": "hr_upscaler",
}
_IN_BOTH = {
    "setting_sd_model_checkpoint": "checkpoint",
    "setting_sd_vae": "vae",
    "label:Checkpoint": "checkpoint",
    "label:VAE / Text Encoder": "modules",
}
"""The top row: Forge's own two have no id there."""


def names_of(tab: str) -> dict[str, str]:
    """Element id (or label) -> what we call the value, for one tab."""
    mine = {pattern.format(tab=tab): name for pattern, name in _IN_EACH_TAB.items()}
    return {**mine, **(_IN_TXT2IMG if tab == "txt2img" else {}), **_IN_BOTH}


class PromptLineInputs:
    """A part of the page (``page_parts``)."""

    name = "the line under Generate"

    def __init__(self, host: Host) -> None:
        self._host = host

    def add(self, page: Page) -> None:
        """Notes changes of what decides where it can be made."""
        for tab in TABS:
            inputs: dict[str, Any] = {}
            for key, name in names_of(tab).items():
                component = page.find(key)
                if component is not None:
                    inputs.setdefault(name, component)
            if "prompt" in inputs:
                self._wire_tab(tab, inputs)

    def _wire_tab(self, tab: str, inputs: dict[str, Any]) -> None:
        script = "window.stablequeuePromptLine"
        changed = f"() => {{ {script} && {script}.changed({json.dumps(tab)}); return []; }}"
        for component in inputs.values():
            component.change(fn=None, inputs=[], outputs=[], **self._host.js(changed))
        said = f"{json.dumps(tab)}, {json.dumps(list(inputs))}, values"
        told = f"(...values) => {{ {script}.told({said}); return []; }}"
        button = hidden_button(f"sq_gate_{tab}")
        button.click(fn=None, inputs=list(inputs.values()), outputs=[], **self._host.js(told))
