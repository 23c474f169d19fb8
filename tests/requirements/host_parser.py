"""What a WebUI takes from a prompt, told a second time in another way: a walk over the characters.

The rules are those that A1111 and Forge keep: ``<word:arguments>`` without ``>`` in the arguments, which are
separated by ``:``; those of the form ``key=value`` have names, the others count by their place. Of a LoRA's,
the first is its name, then the weights of text encoder and U-Net and a whole number; whatever is no number
ends the activation of all LoRAs.
"""

from __future__ import annotations


def lora_arguments(prompt: str) -> list[list[str]]:
    """The arguments of every ``<lora:...>``, in order."""
    found, place = [], 0
    while (place := prompt.find("<", place)) >= 0:
        colon = place + 1
        while colon < len(prompt) and (prompt[colon].isalnum() or prompt[colon] == "_"):
            colon += 1
        end = prompt.find(">", colon + 1)
        is_one = colon > place + 1 and prompt[colon : colon + 1] == ":" and end > colon + 1
        if is_one and prompt[place + 1 : colon] == "lora":
            found.append(prompt[colon + 1 : end].split(":"))
        place = end + 1 if is_one else place + 1
    return found


def name_and_weight(arguments: list[str]) -> tuple[str, float]:
    """Raises ValueError, OverflowError or IndexError where a WebUI stumbles."""
    named = dict(text.split("=") for text in arguments if text.count("=") == 1)
    by_place = [text for text in arguments if text.count("=") != 1]
    name, rest = by_place[0], by_place[1:4]
    numbers = [form(text) for form, text in zip((float, float, int), rest, strict=False)]
    given = {
        key: (int if key == "dyn" else float)(named[key]) for key in ("te", "unet", "dyn") if key in named
    }
    return name, given.get("te", numbers[0] if numbers else 1.0)
