"""The command line options that matter to an extension, with the hosts' names and defaults."""

from __future__ import annotations

import argparse
import os

from fake_family import FORGE
from modules.paths_internal import data_path, models_path, normalized_filepath, script_path

parser = argparse.ArgumentParser()

for name in ("ckpt-dir", "vae-dir"):
    parser.add_argument(f"--{name}", type=normalized_filepath, default=None)
parser.add_argument("--data-dir", type=normalized_filepath, default=script_path)
if FORGE:
    parser.add_argument("--models-dir", type=normalized_filepath, default=None)
    parser.add_argument("--text-encoder-dir", type=normalized_filepath, default=None)
    embeddings = os.path.join(data_path, "embeddings")
else:
    parser.add_argument("--model-ref", type=normalized_filepath, default=None)
    embeddings = os.path.join(models_path, "embeddings")
parser.add_argument("--embeddings-dir", type=normalized_filepath, default=embeddings)

for flag in (
    "listen",
    "share",
    "api",
    "nowebui",
    "freeze-settings",
    "no-gradio-queue",
    "disable-all-extensions",
):
    parser.add_argument(f"--{flag}", action="store_true")
for name in ("gradio-auth", "gradio-auth-path", "api-auth", "subpath", "server-name", "theme"):
    parser.add_argument(f"--{name}", type=str, default=None)
parser.add_argument("--port", type=int, default=None)
parser.add_argument("--ui-settings-file", type=str, default=os.path.join(data_path, "config.json"))
parser.add_argument("--ui-config-file", type=str, default=os.path.join(data_path, "ui-config.json"))
parser.add_argument("--styles-file", type=str, action="append", default=[])
parser.add_argument("--gradio-allowed-path", action="append", default=[])
