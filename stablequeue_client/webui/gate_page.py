"""How our script learns what txt2img and img2img would generate with, without asking Python.

While the host builds its page we note the components that name models. When the page is complete, each of
them gets a change event that only runs in the browser, and each tab a hidden button whose event, in the
browser too, hands our script the values of all of them. The host's queue and threads see nothing of it.
"""

from __future__ import annotations

import json
from typing import Any

from stablequeue_client.webui.compat import Host

TABS = ("txt2img", "img2img")
_IN_EACH_TAB = {
    "{tab}_prompt": "prompt",
    "{tab}_neg_prompt": "negative_prompt",
    "{tab}_styles": "styles",
    "{tab}_override_settings": "override_settings_texts",
    "{tab}_enable-checkbox": "enable_refiner",
    "{tab}_checkpoint": "refiner_checkpoint",
}
_IN_TXT2IMG = {
    "txt2img_hr-checkbox": "enable_hr",
    "hr_checkpoint": "hr_checkpoint_name",
    "hr_vae_te": "hr_additional_modules",
    "hires_prompt": "hr_prompt",
    "hires_neg_prompt": "hr_negative_prompt",
}
_IN_BOTH = {
    "setting_sd_model_checkpoint": "checkpoint",
    "setting_sd_vae": "vae",
    "label:Checkpoint": "checkpoint",
    "label:VAE / Text Encoder": "modules",
}
"""The top row: Forge's own two have no id there."""
_LAST = "footer"
"""With the footer all components are made, and the page is still open for more."""


def names_of(tab: str) -> dict[str, str]:
    """Element id (or label) -> what we call the value, for one tab."""
    mine = {pattern.format(tab=tab): name for pattern, name in _IN_EACH_TAB.items()}
    return {**mine, **(_IN_TXT2IMG if tab == "txt2img" else {}), **_IN_BOTH}


class GatePage:
    """Notes components while pages are built. A host may build parts of its page more than once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._wanted = {key for tab in TABS for key in names_of(tab)}
        self._made: dict[str, list[Any]] = {}

    def on_component(self, component: Any, **kwargs: Any) -> None:
        """A component was made (the host's ``on_after_component``)."""
        key = component.elem_id or f"label:{kwargs.get('label')}"
        if key == _LAST:
            made, self._made = self._made, {}
            self._wire(made)
        elif key in self._wanted:
            self._made.setdefault(key, []).append(component)

    def _wire(self, made: dict[str, list[Any]]) -> None:
        from gradio.context import Context

        root = Context.root_block
        if root is None:
            return
        for tab in TABS:
            inputs: dict[str, Any] = {}
            for key, name in names_of(tab).items():
                # Made for the API alone, or by a page that was thrown away: not among the root's blocks.
                shown = [component for component in made.get(key, ()) if component._id in root.blocks]
                if shown:
                    inputs.setdefault(name, shown[-1])
            if "prompt" in inputs:
                self._wire_tab(tab, inputs)

    def _wire_tab(self, tab: str, inputs: dict[str, Any]) -> None:
        import gradio as gr

        script = "window.stablequeueGate"
        changed = f"() => {{ {script} && {script}.changed({json.dumps(tab)}); return []; }}"
        for component in inputs.values():
            component.change(fn=None, inputs=[], outputs=[], **self._host.js(changed))
        button = gr.Button("StableQueue", visible=False, elem_id=f"sq_gate_{tab}")
        button.do_not_save_to_config = True
        said = f"{json.dumps(tab)}, {json.dumps(list(inputs))}, values"
        told = f"(...values) => {{ {script}.told({said}); return []; }}"
        button.click(fn=None, inputs=list(inputs.values()), outputs=[], **self._host.js(told))
