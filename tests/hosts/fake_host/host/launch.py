"""What ``import launch`` gives an extension's install.py."""

from modules import launch_utils

git_tag = launch_utils.git_tag
is_installed = launch_utils.is_installed
run = launch_utils.run
run_pip = launch_utils.run_pip
