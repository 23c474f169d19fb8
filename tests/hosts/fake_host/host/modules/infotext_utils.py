"""What a page's "Override settings" means."""

from __future__ import annotations

from typing import Any

from modules import shared


def create_override_settings_dict(text_pairs: list[str]) -> dict[str, Any]:
    params = {key: value.strip() for key, _, value in (pair.partition(":") for pair in text_pairs or [])}
    names = [(info.infotext, key) for key, info in shared.opts.data_labels.items() if info.infotext]
    found = {}
    for label, key in names:
        if label in params:
            default = shared.opts.data_labels[key].default
            found[key] = params[label] if default is None else type(default)(params[label])
    return found
