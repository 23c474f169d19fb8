import networks
from modules import script_callbacks, shared, ui_extra_networks
from modules.ui_extra_networks import quote_js


class ExtraNetworksPageLora(ui_extra_networks.ExtraNetworksPage):
    def __init__(self):
        super().__init__("Lora")

    def refresh(self):
        networks.list_available_networks()

    def list_items(self):
        for index, (name, item) in enumerate(networks.available_networks.items()):
            lora, weight = quote_js(f"<lora:{item.get_alias()}:"), "opts.extra_networks_default_multiplier"
            prompt = f"{lora} + {weight} + {quote_js('>')}"
            yield self.item(name, item.filename, index, prompt=prompt)


def before_ui():
    ui_extra_networks.register_page(ExtraNetworksPageLora())


script_callbacks.on_before_ui(before_ui)
shared.options_templates.update(
    shared.options_section(
        ("extra_networks", "Extra Networks"),
        {
            "lora_preferred_name": shared.OptionInfo(
                "Alias from file", "When adding to prompt, refer to Lora by"
            )
        },
    )
)
shared.reload_options()
