"""Options as in the hosts: what is unknown in config.json is kept and saved again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from modules.shared_cmd_options import cmd_opts


class OptionInfo:
    def __init__(
        self,
        default: Any = None,
        label: str = "",
        component: Any = None,
        component_args: Any = None,
        onchange: Callable[[], None] | None = None,
        section: tuple[str, str] | None = None,
        refresh: Any = None,
        comment_before: str = "",
        comment_after: str = "",
        infotext: str | None = None,
        restrict_api: bool = False,
        category_id: str | None = None,
    ) -> None:
        self.default = default
        self.label = label
        self.component = component
        self.component_args = component_args
        self.onchange = onchange
        self.section = section
        self.category_id = category_id
        self.refresh = refresh
        self.do_not_save = False
        self.comment_before = comment_before
        self.comment_after = comment_after
        self.infotext = infotext
        self.restrict_api = restrict_api

    def link(self, label: str, url: str) -> OptionInfo:
        self.comment_before += f"[<a href='{url}' target='_blank'>{label}</a>]"
        return self

    def info(self, info: str) -> OptionInfo:
        self.comment_after += f"<span class='info'>({info})</span>"
        return self

    def html(self, html: str) -> OptionInfo:
        self.comment_after += html
        return self

    def needs_restart(self) -> OptionInfo:
        return self.html(" <span class='info'>(requires restart)</span>")

    def needs_reload_ui(self) -> OptionInfo:
        return self.html(" <span class='info'>(requires Reload UI)</span>")


class OptionHTML(OptionInfo):
    def __init__(self, text: str) -> None:
        import gradio as gr

        super().__init__(text, component=lambda **kwargs: gr.HTML(elem_classes="settings-info", **kwargs))
        self.do_not_save = True


def options_section(
    section_identifier: tuple[str, ...], options_dict: dict[str, OptionInfo]
) -> dict[str, OptionInfo]:
    for value in options_dict.values():
        value.section = (section_identifier[0], section_identifier[1])
        if len(section_identifier) == 3:
            value.category_id = section_identifier[2]
    return options_dict


_FIELDS = {"data_labels", "data", "restricted_opts"}


class Options:
    def __init__(self, data_labels: dict[str, OptionInfo], restricted_opts: set[str]) -> None:
        self.data_labels = data_labels
        self.data = {k: v.default for k, v in data_labels.items() if not v.do_not_save}
        self.restricted_opts = restricted_opts

    def __setattr__(self, key: str, value: Any) -> None:
        if key not in _FIELDS and (key in self.data or key in self.data_labels):
            assert not cmd_opts.freeze_settings, "changing settings is disabled"
            self.data[key] = value
            return
        super().__setattr__(key, value)

    def __getattr__(self, item: str) -> Any:
        # Only what is an option; anything else is an AttributeError, as in the hosts.
        if item in _FIELDS:
            raise AttributeError(item)
        if item in self.data:
            return self.data[item]
        if item in self.data_labels:
            return self.data_labels[item].default
        raise AttributeError(item)

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        if self.data.get(key) == value:
            return False
        option = self.data_labels[key]
        if option.do_not_save:
            return False
        try:
            setattr(self, key, value)
        except RuntimeError:
            return False
        if run_callbacks and option.onchange is not None:
            option.onchange()
        return True

    def get_default(self, key: str) -> Any:
        label = self.data_labels.get(key)
        return label.default if label else None

    def save(self, filename: str) -> None:
        assert not cmd_opts.freeze_settings, "saving settings is disabled"
        with open(filename, "w", encoding="utf8") as file:
            json.dump(self.data, file, indent=4, ensure_ascii=False)

    def load(self, filename: str) -> None:
        try:
            with open(filename, encoding="utf8") as file:
                self.data = json.load(file)
        except FileNotFoundError:
            self.data = {}

    def same_type(self, x: Any, y: Any) -> bool:
        if x is None or y is None:
            return True
        kinds = {int: float}
        return kinds.get(type(x), type(x)) == kinds.get(type(y), type(y))

    def onchange(self, key: str, func: Callable[[], None], call: bool = True) -> None:
        self.data_labels[key].onchange = func
        if call:
            func()

    def dumpjson(self) -> str:
        values = {k: self.data.get(k, v.default) for k, v in self.data_labels.items()}
        values["_comments_before"] = {k: v.comment_before for k, v in self.data_labels.items()}
        values["_comments_after"] = {k: v.comment_after for k, v in self.data_labels.items()}
        return json.dumps(values)

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info
        if key not in self.data and not info.do_not_save:
            self.data[key] = info.default

    def reorder(self) -> None:
        self.data_labels = dict(
            sorted(self.data_labels.items(), key=lambda item: (item[1].section or ("", ""))[1])
        )
