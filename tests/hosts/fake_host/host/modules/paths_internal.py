"""Where things lie; read from the command line before anything else, as in the hosts."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from fake_family import FORGE

modules_path = os.path.dirname(os.path.realpath(__file__))
script_path = os.path.dirname(modules_path)


def normalized_filepath(filepath: str) -> str:
    return str(Path(filepath).absolute())


parser_pre = argparse.ArgumentParser(add_help=False)
parser_pre.add_argument("--data-dir", type=str, default=script_path)
parser_pre.add_argument("--models-dir" if FORGE else "--model-ref", dest="models_base", type=str)
cmd_opts_pre = parser_pre.parse_known_args(sys.argv[1:])[0]

data_path = cmd_opts_pre.data_dir
models_path = cmd_opts_pre.models_base or os.path.join(data_path, "models")
extensions_dir = os.path.join(data_path, "extensions")
extensions_builtin_dir = os.path.join(script_path, "extensions-builtin")
