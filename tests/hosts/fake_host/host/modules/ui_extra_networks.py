"""The browser of checkpoints, LoRAs and embeddings: the DOM of the hosts' cards."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from fake_family import FORGE
from modules import sd_models, shared

extra_pages: list[ExtraNetworksPage] = []
GENERATED = int(os.environ.get("FAKE_HOST_CARDS", "0"))
"""How many cards without a file each page gets beside the real ones."""


def quote_js(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class ExtraNetworksPage:
    allow_prompt = True

    def __init__(self, title: str) -> None:
        self.title = title
        self.name = title.lower()
        self.extra_networks_tabname = self.name.replace(" ", "_")

    def refresh(self) -> None:
        pass

    def list_items(self) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def item(self, name: str, filename: str, index: int, **more: Any) -> dict[str, Any]:
        path = Path(filename)
        mtime = int(os.path.getmtime(filename)) if path.exists() else 0
        keys = {
            "default": index,
            "date_created": mtime,
            "date_modified": mtime,
            "name": path.name.lower(),
            "path": str(path).lower(),
        }
        return {"name": name, "filename": filename, "sort_keys": keys, "search_terms": [path.name], **more}

    def generated_items(self) -> Iterator[dict[str, Any]]:
        for number in range(GENERATED):
            name = f"generated_{number:05}"
            yield self.item(
                name,
                os.path.join(shared.models_path, "generated", name + ".safetensors"),
                10_000 + number,
                prompt=quote_js(name),
            )

    def create_item_html(self, tabname: str, item: dict[str, Any]) -> str:
        if "onclick" in item:
            onclick = item["onclick"]
        elif FORGE:
            onclick = html.escape(f"cardClicked('{tabname}', {item['prompt']}, '', false);")
        else:
            onclick = html.escape(f"return cardClicked('{tabname}', {item['prompt']}, '', false);")
        name, filename = html.escape(item["name"]), html.escape(item["filename"])
        sort_keys = " ".join(f'data-sort-{k}="{html.escape(str(v))}"' for k, v in item["sort_keys"].items())
        terms = "".join(
            f"<span class='hidden search_terms'>{html.escape(x)}</span>" for x in item["search_terms"]
        )
        page = self.extra_networks_tabname
        # Classic's buttons are given the name as well.
        more = "" if FORGE else f", '{name}'"
        buttons = (
            '<div class="copy-path-button card-button" title="Copy path to clipboard" '
            f'onclick="extraNetworksCopyCardPath(event)" data-clipboard-text="{filename}"></div>'
            '<div class="edit-button card-button" title="Edit metadata" '
            f"onclick=\"extraNetworksEditUserMetadata(event, '{tabname}', '{page}'{more})\"></div>"
        )
        return (
            f'<div class="card" style="font-size: 100%;" onclick="{onclick}" data-name="{name}" {sort_keys}>'
            "\n\t\n"
            f'\t<div class="button-row">{buttons}</div>\n\t<div class="actions">\n'
            f'\t\t<div class="additional">{terms}</div>\n\t\t<span class="name">{name}</span>\n'
            '\t\t<span class="description"></span>\n\t</div>\n</div>\n'
        )

    def create_html(self, tabname: str, *, empty: bool = False) -> str:
        full = f"{tabname}_{self.extra_networks_tabname}"
        if empty:
            cards = "Loading..."
        else:
            items = [*self.list_items(), *self.generated_items()]
            cards = "".join(self.create_item_html(tabname, item) for item in items)
            cards = cards or "<div class='nocards'><h1>Nothing here.</h1></div>"
        controls = (
            f'<div class="extra-network-control" id="{full}_controls" style="display:none">'
            f'<div class="extra-network-control--search"><input id="{full}_extra_search" '
            'class="extra-network-control--search-text" type="search" placeholder="Search"></div>'
            f'<div id="{full}_extra_sort_dir" class="extra-network-control--sort-dir" '
            'data-sortdir="Ascending"></div>'
            f'<div id="{full}_extra_refresh" class="extra-network-control--refresh"></div></div>'
        )
        folders = "dirs" if FORGE else "tree"
        beside = f"<div id='{full}_{folders}' class='extra-network-{folders}'></div>"
        content = f"{beside}<div id='{full}_cards' class='extra-network-cards'>{cards}</div>"
        inner = "extra-network-pane-content-dirs" if FORGE else "extra-network-pane-content"
        inside = f"{controls}<div class='{inner}'>{content}</div>"
        return f"<div id='{full}_pane' class='extra-network-pane'>{inside}</div>"


class ExtraNetworksPageCheckpoints(ExtraNetworksPage):
    allow_prompt = False

    def __init__(self) -> None:
        super().__init__("Checkpoints")

    def refresh(self) -> None:
        shared.refresh_checkpoints()

    def list_items(self) -> Iterator[dict[str, Any]]:
        for index, (title, info) in enumerate(list(sd_models.checkpoints_list.items())):
            onclick = html.escape(f"return selectCheckpoint({quote_js(title)})")
            yield self.item(info.name_for_extra, info.filename, index, onclick=onclick)


class ExtraNetworksPageTextualInversion(ExtraNetworksPage):
    def __init__(self) -> None:
        super().__init__("Textual Inversion")

    def list_items(self) -> Iterator[dict[str, Any]]:
        if FORGE:
            from modules.ui_extra_networks_textual_inversion import embedding_db
        else:
            from modules.sd_hijack import model_hijack

            embedding_db = model_hijack.embedding_db
        for index, (name, filename) in enumerate(embedding_db.word_embeddings.items()):
            yield self.item(name, filename, index, prompt=quote_js(name))


def initialize() -> None:
    extra_pages.clear()


def register_page(page: ExtraNetworksPage) -> None:
    extra_pages.append(page)


def register_default_pages() -> None:
    register_page(ExtraNetworksPageTextualInversion())
    register_page(ExtraNetworksPageCheckpoints())


def create_ui(interface: gr.Blocks, generation_tab: gr.Tab, tabname: str, js: Any) -> None:
    pages = list(extra_pages)
    elements, tabs = [], []
    for page in pages:
        full = f"{tabname}_{page.extra_networks_tabname}"
        with gr.Tab(page.title, elem_id=full, elem_classes=["extra-page"]) as tab:
            with gr.Column(elem_id=f"{full}_prompts", elem_classes=["extra-page-prompts"]):
                pass
            elements.append(gr.HTML(page.create_html(tabname, empty=True), elem_id=f"{full}_cards_html"))
            tabs.append((tab, full))

    def refresh() -> list[str]:
        for page in pages:
            page.refresh()
        return pages_html()

    def pages_html() -> list[str]:
        return [page.create_html(tabname) for page in pages]

    generation_tab.select(
        fn=None,
        inputs=[],
        outputs=[],
        show_progress=False,
        **js(f"function(){{extraNetworksUnrelatedTabSelected('{tabname}');}}"),
    )
    for tab, full in tabs:
        tab.select(
            fn=None,
            inputs=[],
            outputs=[],
            show_progress=False,
            **js(f"function(){{extraNetworksTabSelected('{tabname}', '{full}');}}"),
        )
        button = gr.Button("Refresh", elem_id=f"{full}_extra_refresh_internal", visible=False)
        button.click(fn=refresh, inputs=[], outputs=elements)
    interface.load(fn=pages_html, inputs=[], outputs=elements)
