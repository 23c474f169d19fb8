"""No picture: a generation here takes a moment and says what it was asked for."""

from __future__ import annotations

import time
from typing import Any

from modules import shared


def txt2img(
    id_task: str, request: Any, prompt: str, negative_prompt: str, *args: Any
) -> tuple[Any, str, str, str]:
    shared.state.sampling_steps = 5
    for step in range(5):
        if shared.state.interrupted:
            break
        shared.state.sampling_step = step
        time.sleep(0.05)
    return None, "{}", f"{prompt}\nNegative prompt: {negative_prompt}\nSteps: 5", "done"
