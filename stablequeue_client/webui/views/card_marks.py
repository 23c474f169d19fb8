"""How a mark on a card of the WebUI's browser looks, and where it leads. Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlencode

from stablequeue_client.shared.model_files.model_file import FileState
from stablequeue_client.shared.views.labels import MARKS


class CardMark(NamedTuple):
    """A shape, a word, what it means, and the tone of its colour."""

    sign: str
    word: str
    meaning: str
    tone: str


_STATES: dict[FileState, CardMark] = {
    "corrupt": CardMark("✗", MARKS["broken"].word, MARKS["broken"].meaning, "bad"),
    "unreadable": CardMark("✗", MARKS["unreadable"].word, MARKS["unreadable"].meaning, "bad"),
    "partial": CardMark("↓", MARKS["copying"].word, MARKS["copying"].meaning, "warn"),
    "busy": CardMark("!", MARKS["busy"].word, MARKS["busy"].meaning, "warn"),
    "unstable": CardMark("!", MARKS["changing"].word, MARKS["changing"].meaning, "warn"),
}
FOLDER_AWAY = CardMark("!", MARKS["folder"].word, MARKS["folder"].meaning, "warn")
NAME_TWICE = CardMark(
    "≠", "name twice", "Another file has this name and other content; only one is used.", "bad"
)
HERE_ONLY = CardMark("◆", "here only", "No other server that is connected has this model.", "note")


def of_state(state: FileState) -> CardMark | None:
    """The mark of a file that cannot be used as it is; None when it can."""
    return _STATES.get(state)


def on_servers(number: int, servers: int) -> CardMark:
    """The mark of a model that ``number`` of ``servers`` have, this one included."""
    if number <= 1:
        return HERE_ONLY
    meaning = f"{number} of {servers} servers have this model now, this one included."
    return CardMark("●" if number >= servers else "◐", f"on {number} of {servers}", meaning, "good")


def place(sha256: str | None, name: str) -> str:
    """Return where a click leads in our tab: the model, or the search for its name."""
    if sha256:
        return "?" + urlencode({"view": "model", "id": sha256})
    return "?" + urlencode({"view": "models", "search": name}, errors="replace")
