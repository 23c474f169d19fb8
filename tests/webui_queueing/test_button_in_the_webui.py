"""The Queue button in a real browser, in both families, from the press to the job at a real hub."""

from __future__ import annotations

import base64
import json
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.identity import load_identity

from ..agent.real_hub import RealHub
from ..hosts.running_host import FakeHost, StartHost
from ..webui_tab.conftest import (  # noqa: F401 - fixtures
    RT,
    OpenHost,
    browser,
    family,
    open_host,
    serving,
    start_host,
    wait_for_models,
)
from .test_submission_service import join

pytestmark = pytest.mark.browser


def png(width: int, height: int, pixel: Callable[[int, int], bytes]) -> bytes:
    """An RGB picture."""
    rows = b"".join(b"\0" + b"".join(pixel(x, y) for x in range(width)) for y in range(height))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    framed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


PHOTO = png(16, 16, lambda x, y: bytes((x * 15, y * 15, (x * y) % 256)))
MASK = png(16, 16, lambda x, y: b"\xff\xff\xff" if x > 8 else b"\0\0\0")

PIXELS = """
import base64, hashlib, io
from PIL import Image
def pixels(data):
    image = Image.open(io.BytesIO(data))
    return [image.size, hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()]
"""


OTHER_QUEUE = """
import gradio as gr
from modules import script_callbacks, scripts

taken = []


class Script(scripts.Script):
    \"\"\"A second button as Agent Scheduler makes it: below Generate, bound when the page is complete.\"\"\"

    def __init__(self):
        script_callbacks.on_app_started(lambda root, _: self.bind(root))
        script_callbacks.on_after_component(self.at_the_footer)
        self.generate = self.enqueue = None

    def title(self):
        return "Other Queue"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def after_component(self, component, **_):
        if component.elem_id == f"{self.tabname}_generate":
            self.generate = component
            with gr.Row(elem_id=f"{self.tabname}_enqueue_wrapper"):
                self.enqueue = gr.Button("Enqueue", elem_id=f"{self.tabname}_enqueue", variant="primary")

    def bind(self, root):
        if self.generate is None or int(gr.__version__.split(".")[0]) >= 4:
            return
        clicks = [
            one for one in root.dependencies
            if one["trigger"] == "click" and self.generate._id in one["targets"] and len(one["outputs"]) == 4
        ]
        inputs = [root.blocks[key] for key in clicks[0]["inputs"]]
        with root:
            self.enqueue.click(fn=self.take, inputs=inputs, outputs=None)

    def at_the_footer(self, component, **_):
        if component.elem_id == "footer" and self.generate and int(gr.__version__.split(".")[0]) >= 4:
            root = gr.context.Context.root_block
            found = [
                one for one in root.fns.values()
                if (self.generate._id, "click") in one.targets and len(one.outputs) == 4
            ]
            self.enqueue.click(fn=self.take, inputs=found[0].inputs, outputs=None)

    def take(self, *values):
        taken.append([self.tabname, len(values)])
"""


@pytest.fixture(scope="module")
def host(family: str, start_host: StartHost, tmp_path_factory: pytest.TempPathFactory) -> FakeHost:  # noqa: F811
    """One fake host per family; it has no hub at first."""
    data = tmp_path_factory.mktemp(f"queue-{family}") / "webui"
    other = data / "extensions" / "other-queue" / "scripts" / "other_queue.py"
    other.parent.mkdir(parents=True)
    other.write_text(OTHER_QUEUE, "utf-8")
    (data / "styles.csv").write_text(
        'name,prompt,negative_prompt\ninky,"{prompt} <lora:ink:1>",blurry\n', "utf-8"
    )
    return start_host(family, data, *serving(data), environment={"STABLEQUEUE_HASHING": "now"})


@pytest.fixture(scope="module")
def queue_hub(family: str, tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: F811
    """One per family, because what is queued is counted."""
    hub = RealHub(tmp_path_factory.mktemp(f"queue-hub-{family}") / "hub")
    hub.data.parent.mkdir(exist_ok=True)
    hub.start()
    yield hub
    hub.kill()


@pytest.fixture
def joined(host: FakeHost, queue_hub: RealHub) -> RealHub:
    """The hub, which this WebUI has joined from now on."""
    folder = Path(host.run(RT + "result = str(rt.places.server_dir)"))
    if not host.run(RT + "result = rt.hub.state().url"):
        join(queue_hub, folder, host.family)
    return queue_hub


@pytest.fixture
def page(host: FakeHost, open_host: OpenHost) -> Page:  # noqa: F811
    opened = open_host(host).page
    expect(opened.locator("#sq_queue_txt2img")).to_be_visible()
    return opened


def line(page: Page, tab: str = "txt2img") -> Locator:
    return page.locator(f"#sq_queue_box_{tab} .sq-queue-line")


def queued(page: Page, hub: RealHub, tab: str = "txt2img") -> dict[str, Any]:
    """Press Queue; the job as the hub has it."""
    page.click(f"#sq_queue_{tab}")
    expect(line(page, tab)).to_contain_text("ueued.", timeout=30_000)
    address = line(page, tab).locator("[data-sq-queue-open]").first.get_attribute("data-sq-queue-open")
    assert address is not None
    return hub.admin().job(address.partition("id=")[2])


def wait_until_idle(hub: RealHub) -> None:
    """Until no job waits or runs."""
    end = time.monotonic() + 90
    while any(job["state"] in ("pending", "processing") for job in hub.admin().jobs()["jobs"]):
        assert time.monotonic() < end
        time.sleep(0.1)


def number(page: Page, element: str, value: object) -> None:
    field = page.locator(f"#{element} input").first
    field.fill(str(value))
    field.blur()


def test_without_a_hub_it_is_kept_and_the_one_button_that_starts_a_hub_is_offered(
    page: Page, host: FakeHost
) -> None:
    page.fill("#txt2img_prompt textarea", "kept for later")
    page.click("#sq_queue_txt2img")
    expect(line(page)).to_contain_text("until this WebUI has a hub.", timeout=30_000)
    expect(line(page).get_by_role("button", name="Use on this computer")).to_be_visible()
    (kept,) = (host.stablequeue / "webuis").glob("*/queued/*.json")
    payload = json.loads(kept.read_text("utf-8"))["payload"]
    assert payload["prompt"] == "kept for later"
    assert payload["default_settings"]["eta_noise_seed_delta"] == 0


def test_a_press_that_nobody_hears_is_told_in_plain_words(page: Page) -> None:
    page.route("**/queue/press", lambda route: route.abort())
    page.click("#sq_queue_txt2img")
    expect(line(page)).to_contain_text("Not queued: this WebUI does not answer.")


def test_what_was_kept_is_sent_once_when_there_is_a_hub(page: Page, host: FakeHost, joined: RealHub) -> None:
    end = time.monotonic() + 90
    while not joined.admin().jobs()["total"]:
        assert time.monotonic() < end
        time.sleep(0.1)
    expect(line(page)).to_be_empty(timeout=20_000)
    assert not list((host.stablequeue / "webuis").glob("*/queued/*"))
    (job,) = joined.admin().jobs()["jobs"]
    assert joined.admin().job(job["job_id"])["payload"]["prompt"] == "kept for later"


def test_the_job_is_what_generate_would_take(page: Page, host: FakeHost, joined: RealHub) -> None:
    wait_until_idle(joined)
    host.run("from modules import shared\nshared.opts.set('eta_noise_seed_delta', 31337)")
    page.fill("#txt2img_prompt textarea", "a cat <lora:detail:0.5>")
    page.fill("#txt2img_neg_prompt textarea", "dogs")
    for element, value in {"txt2img_steps": 7, "txt2img_width": 128, "txt2img_seed": 41}.items():
        number(page, element, value)
    choose(page, "#txt2img_styles", "inky")
    page.wait_for_timeout(600)
    job = queued(page, joined)
    payload = job["payload"]
    expected = {
        "prompt": "a cat <lora:detail:0.5>", "negative_prompt": "dogs", "steps": 7, "width": 128,
        "height": 512, "seed": 41, "n_iter": 1, "batch_size": 1, "enable_hr": False,
        "styles": [["{prompt} <lora:ink:1>", "blurry"]],
    }  # fmt: skip
    assert {key: payload.get(key) for key in expected} == expected
    assert payload["override_settings"]["eta_noise_seed_delta"] == 31337
    assert payload["override_settings"]["sd_model_checkpoint"].startswith("alpha.safetensors")
    assert not payload["default_settings"].keys() & payload["override_settings"].keys()
    assert not payload.keys() & {"sd_model", "outpath_samples", "alwayson_scripts", "script_name"}
    assert ("scheduler" in payload) is (host.family == "forge")
    host.run("from modules import shared\nshared.opts.set('eta_noise_seed_delta', 0)")


NOISE = "from modules import shared\nresult = shared.opts.data.get('eta_noise_seed_delta')"


def test_while_a_job_runs_with_its_own_settings_the_button_takes_the_owners(
    page: Page, host: FakeHost, joined: RealHub
) -> None:
    """Of another checkpoint, clip skip and noise, which the job has the WebUI use for as long as it runs."""
    wait_until_idle(joined)
    own = {"CLIP_stop_at_last_layers": 3, "eta_noise_seed_delta": 777, "sd_model_checkpoint": "beta"}
    identity = load_identity(Path(host.run(RT + "result = str(rt.places.server_dir)")))
    assert identity is not None
    slow = {"payload": {"prompt": "slow", "steps": 1_500, "override_settings": own}}
    HubApi(joined.url, identity.key).submit_job(slow)
    end = time.monotonic() + 60
    while host.run(NOISE) != 777:
        assert time.monotonic() < end
        time.sleep(0.05)
    saved = host.data / "saved.json"
    host.run(f"from modules import shared\nshared.opts.save({str(saved)!r})")
    kept = json.loads(saved.read_text("utf-8"))
    assert kept.get("eta_noise_seed_delta", 0) == 0
    assert str(kept["sd_model_checkpoint"]).startswith("alpha")
    page.fill("#txt2img_prompt textarea", "while another runs")
    page.wait_for_timeout(600)
    payload = queued(page, joined)["payload"]
    assert host.run(NOISE) == 777
    assert payload["override_settings"]["sd_model_checkpoint"].startswith("alpha")
    assert payload["override_settings"]["CLIP_stop_at_last_layers"] == 1
    assert payload["default_settings"]["eta_noise_seed_delta"] == 0


def test_scripts_go_by_their_titles_and_only_with_what_a_person_changed(page: Page, joined: RealHub) -> None:
    choose(page, "#script_list", "X/Y/Z plot")
    page.evaluate(
        """() => {
            const area = document.querySelector("[id$=xyz_plot_x_values] textarea");
            area.value = "5,6";
            area.dispatchEvent(new Event("input", { bubbles: true }));
        }"""
    )  # the fake host does not show what belongs to a chosen script
    page.wait_for_timeout(600)
    payload = queued(page, joined)["payload"]
    assert (payload["script_name"], payload["script_args"]) == ("X/Y/Z plot", ["5,6"])
    assert "alwayson_scripts" not in payload


def test_a_unit_that_generate_s_click_puts_together_is_the_one_of_this_moment(
    page: Page, joined: RealHub
) -> None:
    page.evaluate(
        "document.querySelector('#txt2img_controlnet_enable input[type=checkbox]').click()"
    )  # its accordion is closed
    page.wait_for_timeout(600)
    payload = queued(page, joined)["payload"]
    assert payload["alwayson_scripts"] == {"ControlNet": {"args": [{"enabled": True}, "None"]}}


def choose(page: Page, element: str, label: str) -> None:
    page.locator(f"{element} input").first.click()
    page.locator("ul.options li, [role=option]").filter(has_text=label).first.click()


def test_the_picture_and_its_mask_arrive_pixel_by_pixel(page: Page, host: FakeHost, joined: RealHub) -> None:
    tabs = page.locator("#tabs button", has_text="mg2img").first
    tabs.click()
    page.click("#sq_queue_img2img")
    expect(line(page, "img2img")).to_contain_text("There is no picture to start from.", timeout=30_000)
    page.locator("#mode_img2img button", has_text="Inpaint upload").first.click()
    for element, data in (("img_inpaint_base", PHOTO), ("img_inpaint_mask", MASK)):
        chosen = {"name": f"{element}.png", "mimeType": "image/png", "buffer": data}
        page.locator(f"#{element} input[type=file]").first.set_input_files(chosen)  # type: ignore[arg-type]
        page.wait_for_selector(f"#{element} img")
    page.wait_for_timeout(600)
    payload = queued(page, joined, "img2img")["payload"]
    sent = [payload["init_images"][0], payload["mask"]]
    code = "".join(f"found.append(pixels(base64.b64decode({text!r})))\n" for text in sent)
    found = host.run(PIXELS + "found = []\n" + code + "result = found")
    originals = "".join(
        f"found.append(pixels(base64.b64decode({base64.b64encode(data).decode()!r})))\n"
        for data in (PHOTO, MASK)
    )
    assert found == host.run(PIXELS + "found = []\n" + originals + "result = found")


def test_several_jobs_differ_in_their_seeds(page: Page, joined: RealHub) -> None:
    number(page, "txt2img_seed", 70)
    page.fill("#sq_queue_box_txt2img input", "3")
    page.wait_for_timeout(600)
    batch = queued(page, joined)["batch_id"]
    expect(line(page)).to_contain_text("3 jobs queued.")
    jobs = joined.admin().jobs(batch=batch)["jobs"]
    assert sorted(job["seed"] for job in jobs) == [70, 71, 72]
    page.reload()
    expect(line(page)).to_contain_text("3 jobs queued.", timeout=30_000)


def test_the_shortcut_queues_and_presses_neither_generate_nor_interrupt(page: Page, joined: RealHub) -> None:
    page.evaluate(
        """() => {
            window.pressed = [];
            for (const what of ["generate", "interrupt", "skip"]) {
                const button = document.querySelector(`#txt2img_${what}`);
                button.addEventListener("click", () => window.pressed.push(what));
                if (what === "interrupt") button.style.display = "block";
            }
        }"""
    )
    page.focus("#txt2img_prompt textarea")
    before = joined.admin().jobs()["total"]
    page.keyboard.press("Control+Shift+Enter")
    expect(line(page)).to_contain_text("Queued.", timeout=30_000)
    assert joined.admin().jobs()["total"] == before + 1
    assert page.evaluate("[window.pressed, window.fakeHostSubmits || 0]") == [[], 0]
    page.keyboard.press("Control+Enter")
    page.wait_for_function("window.fakeHostSubmits === 1")
    assert page.evaluate("window.pressed") == ["generate"]


def test_no_id_of_ours_is_taken_for_the_host_s_buttons(page: Page) -> None:
    endings = ["_generate", "_interrupt", "_skip", "_queue"]
    ids: list[str] = page.evaluate("[...document.querySelectorAll('[id^=sq]')].map((element) => element.id)")
    assert [one for one in ids if one.endswith(tuple(endings))] == []


def test_another_extension_s_queue_beside_ours_works_and_ours_too(
    page: Page, host: FakeHost, joined: RealHub
) -> None:
    code = (
        "from modules import scripts\n"
        "found = [one.module.taken for one in scripts.scripts_data if hasattr(one.module, 'taken')]\n"
    )
    end = time.monotonic() + 90
    while not (taken := host.run(code + "result = found[0]")):  # Gradio 4 shows a button before it hears it
        assert time.monotonic() < end
        page.click("#txt2img_enqueue")
        page.wait_for_timeout(1500)
    assert taken[0][0] == "txt2img"
    page.fill("#txt2img_prompt textarea", "beside another")
    page.wait_for_timeout(600)
    before = host.run(code + "result = len(found[0])")
    assert queued(page, joined)["payload"]["prompt"] == "beside another"
    assert host.run(code + "result = len(found[0])") == before


def test_the_button_stands_where_its_owner_wants_it(page: Page, host: FakeHost) -> None:
    def where(placement: str) -> None:
        host.run(f"from modules import shared\nshared.opts.set('stablequeue_queue_button', {placement!r})")
        page.reload()
        page.wait_for_selector("body[data-sq-queue]", timeout=30_000)

    generate, queue = page.locator("#txt2img_generate"), page.locator("#sq_queue_txt2img")
    places = [one.bounding_box() for one in (generate, queue)]
    assert places[0] is not None
    assert places[1] is not None
    assert places[1]["x"] >= places[0]["x"] + places[0]["width"]
    least = page.locator("#txt2img_interrupt").evaluate("(one) => getComputedStyle(one).minWidth")
    assert least == "0px", "the host gives Interrupt and Skip half of the box each"
    where("under")
    places = [one.bounding_box() for one in (generate, queue)]
    assert places[0] is not None
    assert places[1] is not None
    assert places[1]["y"] >= places[0]["y"] + places[0]["height"]
    where("hidden")
    expect(queue).to_have_count(0)
    host.run("from modules import shared\nshared.opts.set('stablequeue_queue_button', 'beside')")


UNITS = """
import base64, io, dataclasses, enum
import numpy
from PIL import Image
from stablequeue_client.webui.host import payload_json

class InputMode(enum.Enum):
    SIMPLE = "simple"
    BATCH = "batch"

@dataclasses.dataclass
class ControlNetUnit:
    input_mode: InputMode = InputMode.SIMPLE
    use_preview_as_input: bool = False
    generated_image: object = None
    mask_image: object = None
    mask_image_fg: object = None
    enabled: bool = True
    module: str = "canny"
    weight: float = 0.8
    image: object = None
    image_fg: object = None

def flat(value, bands=3):
    return numpy.full((4, 4, bands), value, numpy.uint8)

def pair(picture, mask):
    return {"image": flat(picture), "mask": flat(mask)}

def seen(unit):
    found = payload_json.as_json(unit)
    for name in ("image", "mask_image"):
        if name in found:
            array = numpy.array(Image.open(io.BytesIO(base64.b64decode(found[name]))))
            found[name] = [list(array.shape), int(array.max())]
    return found

strokes = flat(0, 4)
strokes[1:3, 1:3, 3] = 200
"""


def test_a_unit_of_either_family_is_sent_with_one_picture_and_one_mask(host: FakeHost) -> None:
    code = """
result = [
    seen(ControlNetUnit(enabled=False, image=flat(9), weight=2.0)),
    seen(ControlNetUnit(image=flat(90, 4), image_fg=strokes)),
    seen(ControlNetUnit(image=flat(0), image_fg=strokes)),
    seen(ControlNetUnit(image=pair(90, 0), mask_image=pair(7, 30))),
    seen(ControlNetUnit(image=flat(90), use_preview_as_input=True, generated_image=flat(70))),
    seen(ControlNetUnit(mask_image=flat(50))),
]
"""
    rest = {"enabled": True, "module": "canny", "weight": 0.8}
    assert host.run(UNITS + code) == [
        {"enabled": False},
        {**rest, "image": [[4, 4, 4], 90], "mask_image": [[4, 4], 200]},
        {**rest, "image": [[4, 4], 200], "mask_image": [[4, 4], 200]},
        {**rest, "image": [[4, 4, 3], 90], "mask_image": [[4, 4, 3], 30]},
        {**rest, "image": [[4, 4, 3], 70]},
        rest,
    ]
    batch = """
try:
    payload_json.as_json(ControlNetUnit(input_mode=InputMode.BATCH))
    result = ""
except Exception as error:
    result = str(error)
"""
    assert "batch of files" in host.run(UNITS + batch)
