"""The styles of styles.csv."""

from __future__ import annotations

import csv
import os
import typing


class PromptStyle(typing.NamedTuple):
    name: str
    prompt: str | None
    negative_prompt: str | None
    path: str | None = None


class StyleDatabase:
    def __init__(self, paths: list[str]) -> None:
        self.no_style = PromptStyle("None", "", "", None)
        self.styles: dict[str, PromptStyle] = {}
        self.paths = paths
        self.reload()

    def reload(self) -> None:
        self.styles.clear()
        for path in self.paths:
            # The hosts put a divider before each file, whose prompts are None.
            divider = f" {os.path.splitext(os.path.basename(path))[0].upper()} ".center(40, "-")
            self.styles[divider] = PromptStyle(divider, None, None, "do_not_save")
            if os.path.isfile(path):
                with open(path, encoding="utf-8-sig", newline="") as file:
                    for row in csv.DictReader(file, skipinitialspace=True):
                        self.styles[row["name"]] = PromptStyle(
                            row["name"], row["prompt"], row.get("negative_prompt", ""), path
                        )

    def get_style_prompts(self, styles: list[str]) -> list[str | None]:
        return [self.styles.get(x, self.no_style).prompt for x in styles]

    def get_negative_style_prompts(self, styles: list[str]) -> list[str | None]:
        return [self.styles.get(x, self.no_style).negative_prompt for x in styles]
