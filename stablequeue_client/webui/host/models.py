"""What the host's names mean and what it has in memory: the part of ``generation`` about models.

Written against Forge and Classic; host imports stand in the functions, as in ``compat.py``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stablequeue_client.webui.host.compat import Host, lora_file

if TYPE_CHECKING:
    from stablequeue_client.shared.model_files.roles import Role


@dataclass(frozen=True)
class LoadedModels:
    """What the host has in memory: the checkpoint's file and those of VAE and text encoders."""

    checkpoint: str = ""
    modules: frozenset[str] = frozenset()


class HostModels:
    """The host's models. Everything belongs between ``GenerationHost.acquire`` and ``release``."""

    def __init__(self, host: Host) -> None:
        self._host = host

    # --- what its names mean ----------------------------------------------------------------------------

    def resolve(self, role: Role, name: str) -> str | None:
        """The file that the host itself takes for ``name`` in that place; None when it knows none.

        Lists its folders again before it says so.
        """
        found = self._resolve(role, name)
        if found is None:
            self._list_again(role)
            found = self._resolve(role, name)
        return None if found is None else os.path.abspath(found)

    def _resolve(self, role: Role, name: str) -> str | None:
        if role in ("checkpoint", "hires_checkpoint", "refiner"):
            from modules import sd_models

            exact = role == "checkpoint"  # the other two take what comes near
            info = (
                sd_models.checkpoint_aliases.get(name)
                if exact
                else sd_models.get_closet_checkpoint_match(name)
            )
            return None if info is None else str(info.filename)
        if role == "lora":
            return lora_file(name)
        if role == "embedding":
            return self._embedding_file(name)
        return self._module_file(name)

    def _module_file(self, name: str) -> str | None:
        base = os.path.basename(name)
        if self._host.is_forge:
            from modules_forge import main_entry

            listed = main_entry.module_list
        else:
            from modules import sd_vae

            listed = sd_vae.vae_dict
        return None if base not in listed else str(listed[base])

    def _embedding_file(self, name: str) -> str | None:
        """As the hosts read them: the folder's files by their name, the last one walked counts."""
        from modules import shared

        found = None
        for folder, _, files in os.walk(shared.cmd_opts.embeddings_dir, followlinks=True):
            for file in files:
                if os.path.splitext(file)[0] == name:
                    found = os.path.join(folder, file)
        return found

    def _list_again(self, role: Role) -> None:
        if role in ("checkpoint", "hires_checkpoint", "refiner"):
            from modules import sd_models

            sd_models.list_models()
        elif role == "lora":
            networks = sys.modules.get("networks")
            if networks is not None:
                networks.list_available_networks()
        elif role in ("vae", "text_encoder", "module"):
            if self._host.is_forge:
                from modules_forge import main_entry

                main_entry.refresh_models()
            else:
                from modules import sd_vae

                sd_vae.refresh_vae_list()

    # --- what is in memory ------------------------------------------------------------------------------

    def memory(self) -> LoadedModels:
        """The files of the model in memory, without loading one."""
        return loaded_models_of(self._host)

    def forget_copies(self) -> None:
        """Throw away the copies of files that are not in use."""
        from modules import sd_models

        sd_models.checkpoints_loaded.clear()

    def forget_model(self) -> None:
        """Have the checkpoint, VAE, text encoders and embeddings read anew with the next generation."""
        from modules import sd_models

        data = sd_models.model_data
        self.forget_copies()
        if self._host.is_forge:
            data.forge_hash = ""
        elif self._host.family == "classic":
            if data.sd_model is not None:
                data.sd_model.filename = ""
            from modules import sd_vae

            sd_vae.checkpoints_loaded.clear()
        else:
            sd_models.reload_model_weights(forced_reload=True)
        self.forget_prompts()

    def forget_loras(self) -> None:
        """Have the LoRAs' files read anew, and applied anew."""
        networks = sys.modules.get("networks")
        if networks is not None:
            clear = getattr(getattr(networks, "load_lora_state_dict", None), "cache_clear", None)
            if clear is not None:  # Forge and Classic; A1111 keeps them in the table below
                clear()
            networks.networks_in_memory.clear()
        distrust_loras()
        _merge_loras_anew()
        self.forget_prompts()

    def forget_prompts(self) -> None:
        """Drop what the text encoder made of the last prompts, which belongs to the files as they were."""
        from modules import processing

        for form in (processing.StableDiffusionProcessing, processing.StableDiffusionProcessingTxt2Img):
            for name in ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc"):
                kept = vars(form).get(name)
                if isinstance(kept, list):
                    setattr(form, name, [None] * len(kept))

    def heal(self) -> None:
        """After a model could not be loaded Forge believes that it is in memory, and fails from then on."""
        from modules import sd_models

        if self._host.is_forge and sd_models.model_data.sd_model is None:
            sd_models.model_data.forge_hash = ""

    # --- of one generation ------------------------------------------------------------------------------

    def lora_state(self) -> tuple[int, str] | None:
        """Return which LoRAs the host takes for applied to the model in memory."""
        from modules import sd_models

        model: Any = sd_models.model_data.sd_model
        applied = getattr(model, "current_lora_hash", None)
        return None if applied is None else (id(model), str(applied))

    def embeddings_in_memory(self, names: Sequence[str]) -> dict[str, str]:
        """Name -> file of those that the model in memory knows."""
        known = _known_embeddings(self._host)
        found = {name: self._embedding_file(name) for name in names if name in known}
        return {name: path for name, path in found.items() if path is not None}


# --- parts ------------------------------------------------------------------------------------------------


def loaded_models_of(host: Host) -> LoadedModels:
    from modules import sd_models

    model = getattr(sd_models.model_data, "sd_model", None)
    checkpoint = str(getattr(model, "filename", "") or "")
    if not checkpoint:
        info = getattr(model, "sd_checkpoint_info", None)
        checkpoint = str(getattr(info, "filename", "") or "")
    if host.is_forge:
        modules = sd_models.model_data.forge_loading_parameters.get("additional_modules") or []
    else:
        from modules import sd_vae

        modules = [sd_vae.loaded_vae_file] if sd_vae.loaded_vae_file else []
    return LoadedModels(checkpoint, frozenset(map(str, modules)))


def _known_embeddings(host: Host) -> frozenset[str]:
    """Names of the embeddings that the model in memory takes."""
    if not host.is_forge:
        from modules.sd_hijack import model_hijack

        return frozenset(model_hijack.embedding_db.word_embeddings)
    from modules import sd_models

    model = sd_models.model_data.sd_model
    engines = [value for key, value in vars(model).items() if key.startswith("text_processing_engine")]
    names: set[str] = set()
    for engine in engines:
        names.update(getattr(getattr(engine, "embeddings", None), "word_embeddings", ()))
    return frozenset(names)


def _merge_loras_anew() -> None:
    """Forge merges LoRAs into the weights, and again only when their paths or weights are others."""
    from modules import sd_models

    objects = getattr(sd_models.model_data.sd_model, "forge_objects_original", None)
    clip = getattr(objects, "clip", None)
    for part in (getattr(objects, "unet", None), getattr(clip, "patcher", None)):
        loader = getattr(part, "lora_loader", None)
        if loader is not None:
            loader.loaded_hash = ""


def distrust_loras() -> None:
    """A host that failed in the middle of applying them takes them for applied the next time."""
    from modules import sd_models

    model: Any = sd_models.model_data.sd_model
    if hasattr(model, "current_lora_hash"):
        model.current_lora_hash = ""
