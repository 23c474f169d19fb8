"""Invented jobs for the previews."""

from __future__ import annotations

from stablequeue_client.shared.views import job_values as jv
from stablequeue_client.shared.views import values as v

from . import hostile_values as hostile
from .sample_values import DAY_MS, MINUTE_MS, NOW_MS, sha256

_CHECKPOINT = jv.NeedChip("have", "checkpoint", "dreamshaper_8", sha256("dreamshaper"))
_XL = jv.NeedChip("have", "checkpoint", "sd_xl_base_1.0", sha256("xl"))
_INK = jv.NeedChip("have", "lora", "ink-wash", sha256("ink"))
_LOST = jv.NeedChip("missing", "lora", "gouache_v3", sha256("gouache"))
_FACES = jv.NeedChip("ambiguous", "lora", "faces")
_RAW = jv.NeedChip("unread", "lora", "new-style")
_STYLE = jv.NeedChip("decided", "embedding", "easynegative")

PROMPTS = (
    "a lighthouse in a storm, dramatic light, oil on canvas, waves breaking over the rocks, highly detailed",
    "portrait of an old fisherman, weathered face, soft window light",
    "red fox in fresh snow, telephoto",
    "Book cover",
)


def row(number: int, **changes: object) -> jv.JobRow:
    fields: dict[str, object] = {
        "job_id": f"3f0c9a1b-e2d4-4c71-9000-{number:012d}",
        "title": PROMPTS[number % len(PROMPTS)],
        "state": "pending",
        "created_ms": NOW_MS - (number + 1) * 7 * MINUTE_MS,
        "submitted_by": ("studio", "this page", "Nightly batch")[number % 3],
        "needs": (_CHECKPOINT, _INK),
        "may_change": True,
        **changes,
    }
    return jv.JobRow(**fields)  # type: ignore[arg-type]


ROWS = (
    row(0, state="processing", progress=0.62, server="studio", starred=True),
    row(1, waiting="Next in line on studio or attic", in_line=True, priority=2),
    row(2, waiting="In line for studio, 1 job before it", in_line=True, needs=(_XL,), targets=("studio",)),
    row(
        3,
        waiting="Waits for gouache_v3: no server has it",
        needs=(_XL, _LOST, _STYLE),
        may_retry=True,
    ),
    row(4, waiting="Waits for faces: several models have this name; choose one", needs=(_CHECKPOINT, _FACES)),
    row(
        5,
        waiting="Waits for new-style, which has to be read first on old-gtx",
        needs=(_XL, _RAW),
        targets=("old-gtx",),
    ),
    row(6, waiting="Waits for laptop, which is switched off", targets=("laptop",)),
)
ENDED = (
    row(
        10, state="completed", server="studio", picture=True, pictures=4, outcome="confirmed", ended_ms=NOW_MS
    ),
    row(
        11, state="completed", server="attic", picture=True, pictures=1, outcome="not_provable", starred=True
    ),
    row(
        12,
        state="failed",
        server="attic",
        picture=True,
        pictures=1,
        outcome="wrong",
        failure="The WebUI loaded another file for ink-wash.",
    ),
    row(13, state="failed", server="attic", failure="CUDA out of memory."),
    row(14, state="cancelled"),
)
COUNTS = (("pending", 6), ("processing", 1), ("completed", 340), ("failed", 3), ("cancelled", 2))
SERVERS = (
    jv.QueueServerRow("s0", "studio", True, False, True, PROMPTS[0], ROWS[0].job_id, True),
    jv.QueueServerRow("s1", "attic", True, True, True, may_change=True),
    jv.QueueServerRow("s2", "laptop", False, may_change=True),
    jv.QueueServerRow("s3", "old-gtx", True, False, False, may_change=True),
    jv.QueueServerRow("s4", "cellar", True, False, True, may_change=True, rests=True),
)
GROUPS = (
    jv.ModelGroup(
        "lora",
        "gouache_v3",
        12,
        "model_missing",
        ROWS[3].job_id,
        sha256("gouache"),
        (
            jv.CopySource("studio", True, "models/Lora", "paint/gouache_v3.safetensors", 151_108_832),
            jv.CopySource("laptop", False, "models/Lora", "gouache.safetensors", 151_108_832),
        ),
        (
            jv.CopyPlace("attic", True, ("models/Lora", "nas/loras")),
            jv.CopyPlace("old-gtx", False, ("models/Lora",)),
        ),
        NOW_MS + 9 * DAY_MS,
    ),
    jv.ModelGroup("", "nobodysXL", 1, "model_missing", ROWS[4].job_id),
    jv.ModelGroup("lora", "faces", 1, "model_ambiguous", ROWS[4].job_id),
)


def queue_page(**changes: object) -> jv.QueuePage:
    fields: dict[str, object] = {
        "rows": ROWS,
        "total": len(ROWS),
        "counts": COUNTS,
        "servers": SERVERS,
        "submitters": (v.Choice("page", "this page"), v.Choice("key:1", "Nightly batch")),
        "may_pause": True,
        "may_submit": True,
        **changes,
    }
    return jv.QueuePage(**fields)  # type: ignore[arg-type]


def empty_page() -> jv.QueuePage:
    return jv.QueuePage(servers=SERVERS[1:3], may_submit=True, may_pause=True)


def paused_page() -> jv.QueuePage:
    return queue_page(paused=True, total=140, filters=jv.QueueFilters(page=2))


def ended_page() -> jv.QueuePage:
    return queue_page(rows=ENDED, total=345, filters=jv.QueueFilters(state="all"))


def groups_page() -> jv.QueuePage:
    return queue_page(rows=(), groups=GROUPS, filters=jv.QueueFilters(state="models"), groups_total=7)


def filtered_page() -> jv.QueuePage:
    return queue_page(rows=(), total=0, filters=jv.QueueFilters(text="lighthose", starred="1"))


def hostile_page() -> jv.QueuePage:
    names = hostile.NAMES
    rows = tuple(
        row(
            number,
            title=name,
            state=("pending", "processing", "failed", "completed")[number % 4],
            submitted_by=name,
            needs=(jv.NeedChip("missing", name, name, name), jv.NeedChip("plain", "lora", name)),
            waiting=name if number % 4 == 0 else "",
            server=name,
            targets=(name, name),
            failure=name,
            picture=True,
            pictures=2,
            outcome=name,
        )
        for number, name in enumerate(names)
    )
    servers = tuple(
        jv.QueueServerRow(f"s{n}", name, True, False, True, name, name, True) for n, name in enumerate(names)
    )
    filters = jv.QueueFilters(text=names[0], server=names[1], submitter=names[2])
    return queue_page(
        rows=rows,
        servers=servers,
        submitters=tuple(v.Choice(name, name) for name in names),
        filters=filters,
        error=v.Problem(names[3], names[4]),
    )


def hostile_groups() -> jv.QueuePage:
    groups = tuple(
        jv.ModelGroup(
            name,
            name,
            2,
            name,
            name,
            name,
            (jv.CopySource(name, True, name, name, 1),),
            (jv.CopyPlace(name, False, (name, name)),),
        )
        for name in hostile.NAMES
    )
    return queue_page(rows=(), groups=groups, filters=jv.QueueFilters(state="models"))


# --- one job --------------------------------------------------------------------------------------------

INFOTEXT = """a lighthouse in a storm, dramatic light, oil on canvas <lora:ink-wash:0.8>
Negative prompt: blurry, low quality
Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6, Seed: 91827364, Size: 768x1024, \
Model hash: 879db523c3, Model: dreamshaper_8, Lora hashes: "ink-wash: 3d9b4c1f2a7e", Version: f2.0.1"""
FIELDS = jv.JobFields(
    prompt="a lighthouse in a storm, dramatic light, oil on canvas <lora:ink-wash:0.8>",
    negative_prompt="blurry, low quality",
    checkpoint="dreamshaper_8.safetensors [879db523c3]",
    sampler_name="DPM++ 2M",
    scheduler="Karras",
    steps="28",
    cfg_scale="6",
    width="768",
    height="1024",
    seed="91827364",
    others=("enable_hr", "hr_upscaler"),
)
CHOICES = jv.FormChoices(
    tuple(v.Choice(server.server_id, server.alias) for server in SERVERS),
    ("DPM++ 2M", "Euler", "Euler a"),
    ("Automatic", "Karras"),
)
_HISTORY = (
    jv.TimelineEntry(NOW_MS - 50 * MINUTE_MS, "Submitted", "Nightly batch"),
    jv.TimelineEntry(NOW_MS - 40 * MINUTE_MS, "Taken by attic", ""),
    jv.TimelineEntry(
        NOW_MS - 39 * MINUTE_MS, "Sent back unstarted by attic", "", "ink-wash is another file now"
    ),
)


def waiting_job() -> jv.JobDetails:
    return jv.JobDetails(
        row=row(3, waiting="Waits for gouache_v3: no server has it", may_retry=True, priority=2),
        fields=FIELDS,
        choices=CHOICES,
        models=(
            jv.JobModel(
                0,
                "checkpoint",
                "dreamshaper_8.safetensors [879db523c3]",
                "have",
                "879db523c3",
                sha256("d"),
                "dreamshaper_8.safetensors",
            ),
            jv.JobModel(1, "lora", "gouache_v3", "missing", may_decide=True),
            jv.JobModel(2, "embedding", "easynegative", "decided", decision="Decided: not a model"),
        ),
        why=(
            jv.WhyLine("s0", "studio", False, ("gouache_v3 is not there.",), ("style my style",)),
            jv.WhyLine("s1", "attic", False, ("It is paused.", "It sent the job back. ink-wash is another.")),
            jv.WhyLine("s2", "laptop", False, ("It is switched off or not connected.",)),
            jv.WhyLine("s3", "old-gtx", True, working=True, before=2),
        ),
        timeline=_HISTORY,
        deadline_ms=NOW_MS + 9 * DAY_MS,
        may_submit=True,
    )


def finished_job(outcome: str = "confirmed") -> jv.JobDetails:
    wrong = outcome == "wrong"
    made = row(
        10,
        state="failed" if wrong else "completed",
        server="studio",
        outcome=outcome,
        starred=not wrong,
        failure="The WebUI loaded another file for “ink-wash”." if wrong else "",
        ended_ms=NOW_MS,
    )
    return jv.JobDetails(
        row=made,
        fields=FIELDS,
        choices=CHOICES,
        pictures=tuple(
            jv.JobPicture(number, 768, 1024, INFOTEXT, (("checkpoint", "dreamshaper_8", "879db523c3"),))
            for number in range(1 if wrong else 3)
        ),
        models=(
            jv.JobModel(
                0,
                "checkpoint",
                "dreamshaper_8.safetensors [879db523c3]",
                "plain",
                "879db523c3",
                sha256("d"),
                "dreamshaper_8.safetensors",
                "sd15/dreamshaper_8.safetensors",
                "studio",
                outcome="confirmed",
            ),
            jv.JobModel(
                1,
                "lora",
                "ink-wash",
                "plain",
                "",
                sha256("ink"),
                "ink-wash",
                "styles/tusche.safetensors",
                "studio",
                "tusche",
                "wrong" if wrong else "not_provable",
                "The WebUI loaded another file for “ink-wash”." if wrong else "The picture carries no hash.",
            ),
        ),
        timeline=(*_HISTORY, jv.TimelineEntry(NOW_MS, "Finished on studio", "")),
        attempts=1 if wrong else 0,
        may_submit=True,
        may_accept=wrong,
    )


def hostile_job(state: str) -> jv.JobDetails:
    names = hostile.NAMES
    first = row(
        0,
        title=names[0],
        state=state,
        submitted_by=names[1],
        waiting=names[2],
        server=names[3],
        targets=names,
        failure=names[4],
        outcome=names[5],
        may_retry=True,
    )
    return jv.JobDetails(
        row=first,
        fields=jv.JobFields(
            name=names[0],
            prompt=names[1],
            negative_prompt=names[39],
            checkpoint=names[3],
            sampler_name=names[4],
            scheduler=names[5],
            seed="-1",
            targets=names[:2],
            others=names,
        ),
        choices=jv.FormChoices(tuple(v.Choice(name, name) for name in names), names, names),
        pictures=tuple(jv.JobPicture(n, 8, 8, name, ((name, name, name),)) for n, name in enumerate(names)),
        models=tuple(
            jv.JobModel(
                n, name, name, "missing", name, name, name, name, name, name, "wrong", name, name, True
            )
            for n, name in enumerate(names)
        ),
        why=tuple(jv.WhyLine(name, name, False, (name, name), (name,)) for name in names),
        timeline=tuple(jv.TimelineEntry(NOW_MS, name, name, name) for name in names),
        may_submit=True,
        may_accept=True,
    )


# --- a new job ------------------------------------------------------------------------------------------

CHECK = jv.CheckShown(
    True,
    (_CHECKPOINT, _INK, jv.NeedChip("have", "lora", "gouache_v3", sha256("gouache"))),
    (
        jv.WhyLine("s0", "studio", True),
        jv.WhyLine("s1", "attic", False, ("gouache_v3 is not there.",)),
        jv.WhyLine("s2", "laptop", False, ("It is switched off or not connected.",)),
    ),
    ("gouache_v3 can be copied from studio.",),
)


def new_job() -> jv.NewJob:
    return jv.NewJob(choices=CHOICES)


def filled_job() -> jv.NewJob:
    return jv.NewJob(
        FIELDS, CHOICES, text=INFOTEXT, check=CHECK, left_out=("ADetailer model",), left_out_count=1
    )


def impossible_job() -> jv.NewJob:
    check = jv.CheckShown(
        False, (_XL, _LOST), CHECK.servers[1:], ("No server has gouache_v3: add the file, or mend the name.",)
    )
    return jv.NewJob(FIELDS, CHOICES, ROWS[3].job_id, "Book cover", check=check)


def hostile_form() -> jv.NewJob:
    names = hostile.NAMES
    details = hostile_job("pending")
    check = jv.CheckShown(
        True,
        tuple(jv.NeedChip("missing", name, name, name) for name in names),
        tuple(jv.WhyLine(name, name, bool(n % 2), (name,), (name,)) for n, name in enumerate(names)),
        names,
    )
    return jv.NewJob(
        details.fields,
        details.choices,
        names[0],
        names[1],
        names[2],
        check=check,
        left_out=names,
        left_out_count=99,
    )


def hostile_picks() -> jv.PickList:
    return jv.PickList(
        "lora", tuple(jv.PickedModel(name, name, name, 1, name) for name in hostile.NAMES), 100
    )
