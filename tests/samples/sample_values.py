"""Invented values for the previews: models, servers, keys of somebody with some WebUIs."""

from __future__ import annotations

import hashlib
from typing import Any

from stablequeue_client.shared.errors import ServerFrozenError
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views.transfer_views import TransferLine, TransfersPage
from stablequeue_client.shared.wire.transfers import TransferInfo

NOW_MS = 1_772_546_400_000
"""3 March 2026, 14:00 UTC."""
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS

ALIASES = ("studio", "attic", "laptop", "old-gtx")
NAMES = (
    ("sd_xl_base_1.0.safetensors", "checkpoint", "SDXL", 6_938_078_334),
    ("sd_xl_refiner_1.0.safetensors", "checkpoint", "SDXL", 6_075_981_930),
    ("v1-5-pruned-emaonly.safetensors", "checkpoint", "SD 1.5", 4_265_146_304),
    ("flux1-dev-fp8.safetensors", "checkpoint", "Flux", 11_901_525_888),
    ("photo/realistic-vision-v6.safetensors", "checkpoint", "SD 1.5", 2_132_625_894),
    ("anime/counterfeit-v3.safetensors", "checkpoint", "SD 1.5", 4_244_098_984),
    ("add-detail-xl", "lora", "SDXL", 228_456_028),
    ("pixel-art-xl", "lora", "SDXL", 170_543_052),
    ("ink-wash", "lora", "SD 1.5", 151_108_832),
    ("film-grain-v2", "lora", "SD 1.5", 37_861_176),
    ("aerial-view", "lora", "Flux", 19_221_504),
    ("watercolour_0.8", "lora", "SDXL", 912_561_132),
    ("vae-ft-mse-840000-ema-pruned.safetensors", "vae", "SD 1.5", 334_641_162),
    ("sdxl_vae.safetensors", "vae", "SDXL", 334_641_164),
    ("t5xxl_fp8_e4m3fn.safetensors", "text_encoder", None, 4_893_934_904),
    ("easynegative", "embedding", "SD 1.5", 25_323),
)
LONG_NAME = "a-very-long-name_" + "without-any-break" * 9 + "_v2.1-fp16-pruned.safetensors"
RIGHT_TO_LEFT = "نموذج-الرسم-المائي.safetensors"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# --- models ---------------------------------------------------------------------------------------------

_CELLS: tuple[v.Cell, ...] = (
    *[v.Cell("here")] * 9,
    v.Cell("here", files=2),
    *[v.Cell("absent")] * 6,
    v.Cell("removed", NOW_MS - 9 * DAY_MS),
    v.Cell("reading"),
    v.Cell("away", NOW_MS - 2 * DAY_MS),
    v.Cell("folder", NOW_MS - DAY_MS),
)


def columns(count: int) -> tuple[v.ServerColumn, ...]:
    """The third server of several is switched off."""
    aliases = [*ALIASES, *(f"render-node-{number:02d}" for number in range(5, 51))][:count]
    return tuple(
        v.ServerColumn(f"server-{number}", alias, number != 2, NOW_MS - 2 * DAY_MS)
        for number, alias in enumerate(aliases)
    )


def row(number: int, servers: tuple[v.ServerColumn, ...], name: str | None = None) -> v.ModelRow:
    """A model whose cells follow from its name."""
    base, kind, base_model, size = NAMES[number % len(NAMES)]
    name = name or (base if number < len(NAMES) else f"{number // len(NAMES):02d}-{base}")
    digest = sha256(name)
    cells = [_CELLS[int(sha256(f"{name}/{s.server_id}")[:6], 16) % len(_CELLS)] for s in servers]
    if len(servers) == 1:
        cells = [v.Cell("here")]
    for place, server in enumerate(servers):
        if not server.connected and cells[place].mark == "here":
            cells[place] = v.Cell("away", NOW_MS - 2 * DAY_MS)
        elif server.connected and cells[place].mark == "away":
            cells[place] = v.Cell("here")
    on = sum(cell.mark in ("here", "away", "folder") for cell in cells)
    return v.ModelRow(number + 1, name, kind, tuple(cells), base_model, size, digest[:10], on, number == 4)


TROUBLED = (
    v.FileRow(
        "server-0",
        "studio",
        "r1",
        "models/Stable-diffusion",
        "dreamshaper_8.safetensors",
        "checkpoint",
        "broken",
        1_203_331_072,
        "The file ends 929 MB before its header says it should. Fetch it again.",
    ),
    v.FileRow(
        "server-1",
        "attic",
        "r2",
        "models/Lora",
        "faces/old-master.safetensors.corrupted",
        "lora",
        "set_aside",
        151_108_832,
    ),
    v.FileRow(
        "server-1", "attic", "r2", "models/Lora", "private.safetensors", "lora", "unreadable", 37_861_176
    ),
)
UNREAD = (
    v.FileRow(
        "server-0",
        "studio",
        "r1",
        "models/Stable-diffusion",
        "juggernautXL_v9.safetensors",
        "checkpoint",
        "reading",
        7_105_348_188,
    ),
    v.FileRow(
        "server-0",
        "studio",
        "r1",
        "models/Stable-diffusion",
        "sd_xl_base_1.0 (1).safetensors",
        "checkpoint",
        "probably",
        6_938_078_334,
        probably="sd_xl_base_1.0.safetensors",
        probably_id=1,
    ),
    v.FileRow(
        "server-3", "old-gtx", "r4", "models/Lora", "new-style.safetensors", "lora", "copying", 90_112_000
    ),
)


def models_page(servers: int, rows: int = 50, total: int | None = None, page: int = 1) -> v.ModelsPage:
    head = columns(servers)
    listed = tuple(row(number, head) for number in range(rows))
    total = rows if total is None else total
    return v.ModelsPage(
        head,
        listed,
        total,
        max(total, rows),
        filters=v.Filters(page=page),
        base_models=("Flux", "SD 1.5", "SDXL"),
    )


def troubled_page(servers: int) -> v.ModelsPage:
    plain = models_page(servers, 12, 40)
    mine = {column.alias for column in plain.servers}
    troubled = tuple(file for file in TROUBLED if file.server in mine)
    unread = tuple(file for file in UNREAD if file.server in mine)
    return v.ModelsPage(
        plain.servers,
        plain.rows,
        plain.total,
        plain.everything,
        base_models=plain.base_models,
        troubled=v.FileList(troubled, len(troubled), "troubled"),
        unread=v.FileList(unread, 37, "unread"),
    )


# --- one model ------------------------------------------------------------------------------------------


def details(name: str = "sd_xl_base_1.0.safetensors", alias: str = "attic") -> v.ModelDetails:
    digest = sha256(name)
    return v.ModelDetails(
        model_id=1,
        name=name,
        kind="checkpoint",
        base_model="SDXL",
        size=6_938_078_334,
        servers_total=4,
        missing_on=("old-gtx",),
        digests=(
            v.DigestLine("SHA256", digest, "computed on studio, attic"),
            v.DigestLine("AutoV2", digest[:10], "first ten digits of the SHA256"),
            v.DigestLine("BLAKE3", sha256(digest), "computed on studio"),
            v.DigestLine("AutoV1", "31e35c80", "computed on studio"),
        ),
        aliases=(name, "SDXL base.safetensors", "xl/sd_xl_base_1.0.safetensors"),
        places=(
            v.Place("studio", "models/Stable-diffusion", name, "here", 6_938_078_334),
            v.Place("studio", "models/Stable-diffusion", "xl/" + name, "here", 6_938_078_334),
            v.Place(alias, "models/Stable-diffusion", "SDXL base.safetensors", "here", 6_938_078_334),
            v.Place("laptop", "nas/checkpoints", name, "away", 6_938_078_334, NOW_MS - 2 * DAY_MS),
        ),
        metadata=(
            ("modelspec.title", "Stable Diffusion XL 1.0 Base"),
            ("modelspec.architecture", "stable-diffusion-xl-v1-base"),
            ("modelspec.author", "StabilityAI"),
            ("modelspec.resolution", "1024x1024"),
        ),
        duplicates=(v.Duplicate("studio", 2, 6_938_078_334),),
        same_name=(v.OtherModel(7, name, sha256("other")[:10], 6_775_430_000, ("old-gtx",)),),
        contradictions=(
            v.Contradiction(
                "The file .civitai.info beside it", "SHA256", sha256("claimed")[:16], digest[:16]
            ),
        ),
        history=(
            v.HistoryLine(NOW_MS - 3 * MINUTE_MS, "read, and now here", "attic"),
            v.HistoryLine(NOW_MS - 9 * DAY_MS, "removed", "old-gtx"),
            v.HistoryLine(NOW_MS - 40 * DAY_MS, "read, and now here", "studio"),
        ),
    )


def bare_details() -> v.ModelDetails:
    return v.ModelDetails(9, "ink-wash", "lora", (), (), servers_total=4, is_lead=True)


# --- servers --------------------------------------------------------------------------------------------


def _folders(away: bool = False) -> tuple[v.Folder, ...]:
    return (
        v.Folder("r1", "models/Stable-diffusion", "checkpoint", "healthy", 64, NOW_MS - 40 * DAY_MS),
        v.Folder("r2", "models/Lora", "lora", "healthy", 412, NOW_MS - 40 * DAY_MS),
        v.Folder("r3", "nas/loras", "lora", "unreachable" if away else "healthy", 120, NOW_MS - 5 * DAY_MS),
    )


def server(number: int, alias: str, **changes: object) -> v.ServerCard:
    fields: dict[str, object] = {
        "server_id": f"server-{number}",
        "alias": alias,
        "connected": True,
        "last_contact_ms": NOW_MS,
        "joined_ms": NOW_MS - 40 * DAY_MS,
        "last_sync_ms": NOW_MS - 12 * MINUTE_MS,
        "version": "0.1.0",
        "progress": v.Progress(),
        "models": 596,
        "folders": _folders(),
        **changes,
    }
    return v.ServerCard(**fields)  # type: ignore[arg-type]


CAPABILITIES = v.Capabilities(
    "Forge f2.0.1v1.10.1-previous-669-gdfdcbab6",
    "RTX 4090 24 GB",
    "idle",
    (
        ("Can load", ("flux", "sd1", "sdxl")),
        ("Samplers", ("DDIM", "DPM++ 2M", "DPM++ 2M SDE", "DPM++ SDE", "Euler", "Euler a", "Heun", "UniPC")),
        ("Schedulers", ("Automatic", "Beta", "Exponential", "Karras", "SGM Uniform", "Simple", "Uniform")),
        ("ControlNet models", tuple(f"control_v11p_sd15_{name} [{name:>8}]" for name in ("canny", "depth"))),
        ("Scripts", ("Prompt matrix", "Prompts from file or textbox", "X/Y/Z plot")),
    ),
)


def servers_page() -> v.ServersPage:
    reading = v.Progress("hashing", 12, 49, 61_203_331_072, 212_000_000_000, 725)
    return v.ServersPage(
        (
            server(
                0,
                "studio",
                progress=reading,
                waiting=37,
                problems=v.FileList(TROUBLED[:1], 1),
                capabilities=CAPABILITIES,
            ),
            server(
                1,
                "attic",
                folders=_folders(away=True),
                problems=v.FileList(TROUBLED[1:], 2),
                asked=("Asked to check its folders; it takes that up within 10 seconds.",),
            ),
            server(2, "laptop", connected=False, last_contact_ms=NOW_MS - 2 * DAY_MS, progress=None),
            server(
                3,
                "old-gtx",
                progress=v.Progress("paused", 3, 40),
                waiting=37,
                capabilities=v.Capabilities("A1111 v1.10.1", "GTX 1070 8 GB"),
            ),
        )
    )


def frozen_page() -> v.ServersPage:
    frozen = ServerFrozenError.remedy_text
    return v.ServersPage((server(0, "studio", frozen=frozen), server(1, "attic", folders=(), models=0)))


def many_servers() -> v.ServersPage:
    return v.ServersPage(
        tuple(
            server(
                number,
                column.alias,
                connected=column.connected,
                folders=_folders(away=number == 7),
                last_contact_ms=NOW_MS if column.connected else NOW_MS - 2 * DAY_MS,
            )
            for number, column in enumerate(columns(50))
        )
    )


# --- keys, join, login ----------------------------------------------------------------------------------


def keys_page() -> v.KeysPage:
    return v.KeysPage(
        (
            v.KeyLine("3f0c9a1be2d44c71", "Nightly batch", "jobs", NOW_MS - 3 * DAY_MS, last_used_ms=NOW_MS),
            v.KeyLine(
                "77aa01cc9d3e42f0",
                "Add another computer",
                "join",
                NOW_MS - 9 * MINUTE_MS,
                expires_ms=NOW_MS + 51 * MINUTE_MS,
            ),
            v.KeyLine("server-1", "", "server", NOW_MS - 40 * DAY_MS, server="attic", last_used_ms=NOW_MS),
            v.KeyLine(
                "90d1f2aa31c24e05", "old laptop", "view", NOW_MS - 90 * DAY_MS, revoked_ms=NOW_MS - 2 * DAY_MS
            ),
        )
    )


def new_key() -> v.NewKey:
    return v.NewKey("3f0c9a1be2d44c71", "jobs", "Nightly batch", f"sq_3f0c9a1be2d44c71_{sha256('key')}")


def join_line() -> v.JoinLine:
    words = (
        "stablequeue agent --hub http://192.168.1.20:8383 "
        f"--join sq_77aa01cc9d3e42f0_{sha256('code')} --alias attic --webui "
    )
    linux = "python3 -m venv .venv && .venv/bin/pip install -q ."
    windows = "py -m venv .venv; .venv\\Scripts\\pip install -q ."
    return v.JoinLine(
        (
            v.CommandLine("Linux, macOS", linux, f".venv/bin/{words}/home/me/forge"),
            v.CommandLine("Windows (PowerShell)", windows, f".venv\\Scripts\\{words}C:\\AI\\forge"),
        ),
        NOW_MS + 60 * MINUTE_MS,
        f"http://192.168.1.20:8383 sq_77aa01cc9d3e42f0_{sha256('code')}",
    )


def transfer(number: int, state: str, **fields: Any) -> TransferInfo:
    """One copy from the studio to the attic."""
    values = {
        "sha256": f"{number:064x}", "name": "ink_style_v2.safetensors", "kind": "lora", "size": 228_000_000,
        "target_id": "b", "target": "attic", "source_id": "a", "source": "studio", "way": "relay",
        "asked_by": "hub", "by": "the hub", "created_ms": NOW_MS, "changed_ms": NOW_MS,
    }  # fmt: skip
    return TransferInfo(id=number, state=state, **{**values, **fields})  # type: ignore[arg-type]


def transfers_page() -> TransfersPage:
    """Each state once."""
    running = {"bytes_done": 91_000_000, "bytes_per_s": 61_000_000, "progress": 0.4}
    infos = (
        transfer(8, "asked"),
        transfer(7, "running", **running),
        transfer(6, "verifying", progress=1.0),
        transfer(5, "waiting", kind="checkpoint", name="sd_xl_base_1.0.safetensors", size=6_940_000_000),
        transfer(4, "planned", source_id=None, source=None, text="studio is switched off"),
        transfer(3, "done", ended_ms=NOW_MS, path="ink_style_v2-31e35c80fc.safetensors"),
        transfer(2, "failed", ended_ms=NOW_MS, failure="no_space", text="The disk of the folder is full."),
        transfer(1, "cancelled", ended_ms=NOW_MS),
    )
    lines = [TransferLine(one, one.state == "asked", one.ended_ms is None) for one in infos]
    return TransfersPage(tuple(lines))
