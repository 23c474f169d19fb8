"""Names that try to be more than names, in every place where a view shows one."""

from __future__ import annotations

from markupsafe import Markup

from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views import views
from stablequeue_client.shared.views.transfer_views import TransferLine, TransfersPage
from stablequeue_client.shared.wire.transfers import TransferInfo
from stablequeue_client.webui.views.local_queue_view import LocalQueue, OutboxRow

from .sample_values import NOW_MS, row, server

NAMES: tuple[str, ...] = (
    "<script>window.__xss=1</script>",
    '"><script>window.__xss=1</script>',
    "'><img src=x onerror=window.__xss=1>",
    '<img src=x onerror="window.__xss=1">',
    "<svg onload=window.__xss=1>",
    "<svg><script>window.__xss=1</script></svg>",
    '<iframe src="javascript:parent.__xss=1"></iframe>',
    '<iframe srcdoc="<script>parent.__xss=1</script>"></iframe>',
    "javascript:window.__xss=1",
    '" onmouseover="window.__xss=1',
    "' onfocus='window.__xss=1' autofocus='",
    'x" autofocus onfocus="window.__xss=1',
    "</title><script>window.__xss=1</script>",
    "</style><script>window.__xss=1</script>",
    "</textarea><script>window.__xss=1</script>",
    "</script><script>window.__xss=1</script>",
    "--><script>window.__xss=1</script><!--",
    '<!--<img src="--><img src=x onerror=window.__xss=1>">',
    "<math><mtext><img src=x onerror=window.__xss=1></mtext></math>",
    "<template><img src=x onerror=window.__xss=1></template>",
    '<noscript><p title="</noscript><img src=x onerror=window.__xss=1>">',
    "<details open ontoggle=window.__xss=1>",
    "<body onload=window.__xss=1>",
    "<input autofocus onfocus=window.__xss=1>",
    "<video><source onerror=window.__xss=1></video>",
    '<object data="javascript:window.__xss=1"></object>',
    '<a href="javascript:window.__xss=1">x</a>',
    '<form action="javascript:window.__xss=1"><button>x</button></form>',
    '<base href="https://evil.example/">',
    '<meta http-equiv="refresh" content="0;url=javascript:window.__xss=1">',
    '<link rel=stylesheet href="https://evil.example/x.css">',
    "<style>*{display:none}</style>",
    "{{ 7*7 }}{% include 'login.html' %}",
    "${window.__xss=1}`${window.__xss=1}`",
    "&lt;script&gt;window.__xss=1&lt;/script&gt;",
    "&#60;img src=x onerror=window.__xss=1&#62;",
    "<scr\x00ipt>window.__xss=1</scr\x00ipt>",
    "<ScRiPt/x>window.__xss=1</sCrIpT>",
    "\u202egnp.exe\u2066<b>bold</b>\u200b",
    "line\nbreak\r\t\x1b[31m<b>red</b>\x7f\ud800",
)


def named_page(names: tuple[str, ...]) -> v.ModelsPage:
    head = tuple(v.ServerColumn(f"server-{number}", name) for number, name in enumerate(names[:3]))
    rows = tuple(row(number, head, name) for number, name in enumerate(names))
    files = tuple(v.FileRow("s", name, "r", name, name, "lora", "broken", 1, name, name, 1) for name in names)
    listed = v.FileList(files, len(files), "troubled")
    return v.ModelsPage(
        head,
        rows,
        len(rows),
        len(rows),
        filters=v.Filters(search=names[0], base_model=names[1]),
        base_models=names,
        troubled=listed,
        error=v.Problem(names[2], names[3]),
    )


def details() -> v.ModelDetails:
    names = NAMES
    return v.ModelDetails(
        model_id=1,
        name=names[0],
        kind=names[1],
        base_model=names[2],
        digests=tuple(v.DigestLine(name, name, name) for name in names),
        places=tuple(v.Place(name, name, name, "here", 1) for name in names),
        aliases=names,
        missing_on=names,
        metadata=tuple((name, name) for name in names),
        duplicates=tuple(v.Duplicate(name, 2, 5) for name in names),
        same_name=tuple(v.OtherModel(1, name, name, 1, (name,)) for name in names),
        contradictions=tuple(v.Contradiction(*[name] * 4) for name in names),
        history=tuple(v.HistoryLine(NOW_MS, name, name) for name in names),
    )


def servers() -> v.ServersPage:
    def one(number: int, name: str) -> v.ServerCard:
        file = v.FileRow("s", name, name, name, name, name, "set_aside", 1, name)
        folder = v.Folder(name, name, name, "suspect", 3, NOW_MS, name)
        return server(
            number,
            name,
            version=name,
            folders=(folder,),
            problems=v.FileList((file,), 1),
            frozen=name,
            asked=(name,),
            capabilities=v.Capabilities(name, name, lists=((name, (name, name)),)),
        )

    return v.ServersPage(tuple(one(*pair) for pair in enumerate(NAMES)), error=v.Problem(*NAMES[:2]))


def keys() -> v.KeysPage:
    return v.KeysPage(tuple(v.KeyLine(name, name, name, NOW_MS, name) for name in NAMES))


def here() -> LocalQueue:
    rows = tuple(OutboxRow(f"{number:032x}", name, NOW_MS, 2, name) for number, name in enumerate(NAMES))
    return LocalQueue(rows, 99, rows, 99, 3)


def parts() -> Markup:
    """The small fragments, each with every hostile name."""
    made = [
        part
        for name in NAMES
        for part in (
            views.new_key(v.NewKey(name, name, name, name)),
            views.join(v.JoinPage(True, (name, name), error=v.Problem(name, name))),
            views.join(v.JoinPage(False, (name, name))),
            views.join_line(v.JoinLine((v.CommandLine(name, name, name),), NOW_MS, name)),
            views.notice(v.Notice(name, False, name)),
            views.problem(v.Problem(name, name)),
            views.first_line(v.FirstLine(needs=2, problem=name, action="?view=models", action_label=name)),
        )
    ]
    return Markup("").join(made)


def transfers() -> TransfersPage:
    def one(number: int, name: str) -> TransferLine:
        info = TransferInfo(
            number, name, name, name, 1, "asked", name, name, name, name, "relay", name, name,  # type: ignore[arg-type]
            NOW_MS, NOW_MS, text=name, path=name, failure=name, progress=0.5, bytes_per_s=1,
        )  # fmt: skip
        return TransferLine(info, True, True)

    return TransfersPage(tuple(one(*pair) for pair in enumerate(NAMES)))
