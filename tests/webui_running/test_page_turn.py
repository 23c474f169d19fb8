"""A job has the host's scripts make their controls, which would break a page that is being built."""

from __future__ import annotations

import sys
import threading
import types
from typing import Any

import pytest

from stablequeue_client.webui.host import compat, page_build_lock
from stablequeue_client.webui.host.generation import GenerationHost
from stablequeue_client.webui.shell import loading


class Runner:
    scripts = ("one",)


class Api:
    asked = threading.Event()
    go_on = threading.Event()

    def init_default_script_args(self, runner: Runner) -> list[Any]:
        self.asked.set()
        assert self.go_on.wait(10)
        return [runner]

    def get_selectable_script(self, name: str, runner: Runner) -> tuple[None, None]:
        return None, None

    def init_script_args(self, form: Any, defaults: list[Any], *_: Any) -> list[Any]:
        return defaults


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The host's module of scripts: "Reload UI" puts new runners into it."""
    monkeypatch.setattr(Api, "asked", threading.Event())
    monkeypatch.setattr(Api, "go_on", threading.Event())
    scripts = types.SimpleNamespace(scripts_txt2img=Runner(), scripts_img2img=Runner())
    for name, module in (
        ("modules", types.SimpleNamespace(scripts=scripts)),
        ("modules.scripts", scripts),
        ("modules.api", types.SimpleNamespace()),
        ("modules.api.api", types.SimpleNamespace(Api=Api)),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    yield scripts
    Api.go_on.set()
    page_build_lock.done()


def started(call: Any) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def job(found: list[Any]) -> threading.Thread:
    host = GenerationHost(compat.Host(family="classic", gradio_major=3))
    form = types.SimpleNamespace(script_name=None)
    return started(lambda: found.append(host._script_arguments(form, img2img=False)))


def test_a_job_waits_for_the_page_that_is_being_built_and_takes_its_scripts(scripts: Any) -> None:
    found: list[Any] = []
    page_build_lock.begins()
    Api.go_on.set()
    thread = job(found)
    assert not Api.asked.wait(0.3)
    scripts.scripts_txt2img = new = Runner()
    page_build_lock.done()
    thread.join(10)
    assert found == [(new, None, [new])]


def test_the_page_waits_for_the_job_that_asks_the_scripts(scripts: Any) -> None:
    found: list[Any] = []
    asking = job(found)
    assert Api.asked.wait(10)
    page = started(page_build_lock.begins)
    page.join(0.3)
    assert page.is_alive()
    Api.go_on.set()
    page.join(10)
    asking.join(10)
    assert not page.is_alive()
    assert page_build_lock.building()
    assert len(found) == 1


def test_the_page_is_being_built_from_our_script_until_the_webui_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loading, "_background", lambda loaded: loaded.set_exception(ValueError()))
    monkeypatch.setattr(loading, "_loaded", {})
    for name in ("on_before_ui", "on_model_loaded"):
        monkeypatch.setattr(compat, name, lambda *_: None)
    loading.begin()
    assert page_build_lock.building()
    [loaded] = loading._loaded.values()
    loading._app_started(loaded, None, None)
    assert not page_build_lock.building()
