"""``hub`` and ``keys``: run ``python -m stablequeue_hub`` as a child. The client never imports the hub."""

from __future__ import annotations

import signal
import subprocess

from stablequeue_client.commands.context import Context
from stablequeue_client.own_hub.hub_process import child_environment, hub_command, hub_words, require_hub
from stablequeue_client.settings import DEFAULT_PORT
from stablequeue_client.shared.parent_process import PARENT_VARIABLE, parent_mark


def run_hub(context: Context) -> int:
    """The hub in the foreground, until Ctrl-C or SIGTERM."""
    require_hub()
    port = context.settings.port or DEFAULT_PORT
    words = hub_command("hub", *hub_words(context.settings, context.data_dir, port))
    environment = child_environment(context.settings, {PARENT_VARIABLE: parent_mark()})
    return _wait_for(subprocess.Popen(words, env=environment))


def run_keys(context: Context) -> int:
    """``keys create|list|revoke`` on the hub's store; the hub may run meanwhile."""
    require_hub()
    arguments, settings = context.arguments, context.settings
    words = ["keys", arguments.action, "--data", str(context.data_dir)]
    if arguments.action == "create":
        words += ["--legacy"] if settings.legacy else ["--scope", settings.scope]
        words += ["--name", settings.name] if settings.name else []
    if arguments.action == "revoke":
        words.append(arguments.key_id)
    words += ["--json"] if settings.json else []
    return _wait_for(subprocess.Popen(hub_command(*words), env=child_environment(settings)))


def _wait_for(child: subprocess.Popen[bytes]) -> int:
    """The child's exit code, 0 when it ended by a signal to end; what ends us is passed on to it."""
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    while True:
        try:
            code = child.wait()
            return 0 if code in (-signal.SIGTERM, -signal.SIGINT) else code
        except KeyboardInterrupt:
            child.terminate()
