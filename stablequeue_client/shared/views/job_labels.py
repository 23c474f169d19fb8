"""Words on screen for jobs: states, marks of models, roles. Pure."""

from __future__ import annotations

from stablequeue_client.shared.views.job_values import JobRow, NeedMark
from stablequeue_client.shared.views.labels import Mark

STATES: dict[str, Mark] = {
    "pending": Mark("waits", "ring", "warn", "Something has to happen before a server can take it."),
    "in_line": Mark("in line", "half", "idle", "A server takes it when its turn comes."),
    "processing": Mark("being made", "arrow", "busy", "A server works on it."),
    "completed": Mark("done", "disc", "good", "Finished, and made with the models it names."),
    "not_provable": Mark(
        "done, models not provable", "query", "warn", "Finished; the picture does not prove its models."
    ),
    "accepted": Mark("done, accepted by hand", "flag", "idle", "Made with other models, and accepted."),
    "failed": Mark("failed", "cross", "bad", "It failed."),
    "wrong": Mark("wrong models", "cross", "bad", "Made with other models than it names."),
    "cancelled": Mark("cancelled", "minus", "idle", "It was cancelled."),
}
NEEDS: dict[NeedMark, Mark] = {
    "have": Mark("there", "disc", "good", "A server that may run the job has it."),
    "missing": Mark("missing", "cross", "bad", "No server that may run the job has it."),
    "ambiguous": Mark("not clear", "query", "warn", "Several models have this name."),
    "unread": Mark("not read yet", "half", "busy", "The file has to be read first."),
    "away": Mark("not connected", "ring", "idle", "Its server or its folder is not connected."),
    "decided": Mark("decided", "flag", "idle", "It was decided that the job runs without it."),
    "unchecked": Mark("not checked", "dot", "none", "An extension fills it in, or it may be a plain word."),
    "plain": Mark("", "", "none", ""),
}
OUTCOMES: dict[str, Mark] = {
    "confirmed": Mark("yes", "disc", "good", "The picture, or the WebUI, proves it."),
    "not_provable": Mark("cannot be proved", "query", "warn", "Neither picture nor WebUI says."),
    "wrong": Mark("no, another one", "cross", "bad", "The picture was made with something else."),
}
GROUPS: dict[str, str] = {
    "model_missing": "not where it is needed",
    "model_ambiguous": "several models have this name",
    "model_unhashed": "not read yet",
    "model_unreachable": "in a folder that is not connected",
}
"""What is wrong with a model that jobs wait for, by its code."""
ROLES: dict[str, str] = {
    "checkpoint": "Checkpoint",
    "hires_checkpoint": "Checkpoint of hires fix",
    "refiner": "Refiner",
    "vae": "VAE",
    "text_encoder": "Text encoder",
    "module": "VAE or text encoder",
    "lora": "LoRA",
    "embedding": "Embedding",
}


def state_of_row(row: JobRow) -> str:
    """The key of ``STATES`` for a job in a list."""
    return state_key(row.state, row.outcome, in_line=row.in_line)


def state_key(state: str, outcome: str, *, in_line: bool = False) -> str:
    """The key of ``STATES``."""
    if state == "pending" and in_line:
        return "in_line"
    if state == "completed" and outcome in ("not_provable", "accepted"):
        return outcome
    return "wrong" if state == "failed" and outcome == "wrong" else state
