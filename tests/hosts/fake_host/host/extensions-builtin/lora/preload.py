import os

from modules import paths
from modules.paths_internal import normalized_filepath


def preload(parser) -> None:
    parser.add_argument(
        "--lora-dir", type=normalized_filepath, default=os.path.join(paths.models_path, "Lora")
    )
