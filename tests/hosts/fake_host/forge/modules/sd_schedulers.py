"""Only where sampler and scheduler are two choices."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Scheduler:
    name: str
    label: str


schedulers = [
    Scheduler("automatic", "Automatic"),
    Scheduler("karras", "Karras"),
    Scheduler("simple", "Simple"),
]
schedulers_map = {**{x.name: x for x in schedulers}, **{x.label: x for x in schedulers}}
