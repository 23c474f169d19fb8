"""Every view in every state: for the preview, and for the tests that look at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from stablequeue_client.shared.views import job_views, transfer_views, views
from stablequeue_client.shared.views import values as v

from . import hostile_values as hostile
from . import sample_jobs as sj
from . import sample_values as sv

ALL_RIGHT = v.FirstLine(models=1204, servers=4, connected=4)


@dataclass(frozen=True)
class Sample:
    """One state of one view. ``page`` None: ``fragment`` is a whole page itself."""

    view: str
    fragment: Callable[[], Markup]
    line: v.FirstLine = ALL_RIGHT
    sample: bool = False
    whole: bool = False
    away: bool = False

    def page(self, base: str) -> Markup:
        """The whole page, with /views and /static below ``base``."""
        if self.whole:
            return self.fragment()
        title = views.NAV.get(self.view) or {"job": "Job", "new": "New job"}.get(self.view, "Model")
        line = views.first_line(self.line)
        return views.shell(
            v.Shell(title, self.view, line, self.fragment(), sample=self.sample, base=base, version="0.1.0")
        )


_BUSY = v.FirstLine(models=1204, reading=37, eta_s=725, servers=4, connected=3)
_NEEDS = v.FirstLine(
    models=1204,
    reading=37,
    eta_s=725,
    servers=4,
    connected=3,
    needs=3,
    problem="Folder nas/loras on attic is not connected",
    action="?view=servers",
    action_label="Show",
)
_AWAY = v.FirstLine(
    models=596, servers=1, connected=1, hub="away", hub_since_ms=sv.NOW_MS - 58 * sv.MINUTE_MS
)
_NO_HUB = v.FirstLine(models=596, servers=1, connected=1, hub="none")
_NOTHING = v.FirstLine()
_QUEUED = v.FirstLine(models=1204, servers=4, connected=3, running=1, queued=6)
_HUB_ERROR = v.Problem(
    "The hub's database cannot be read: database disk image is malformed.",
    "Stop the hub, put back a backup of hub.sqlite, and start it again.",
)


def _picks() -> Markup:
    return Markup("<ul>{}</ul>").format(job_views.pick_list(sj.hostile_picks()))


SAMPLES: dict[str, Sample] = {
    "models-no-folders": Sample("models", lambda: views.models(sv.models_page(0, 0)), _NOTHING),
    "models-none-yet": Sample(
        "models", lambda: views.models(sv.models_page(1, 0)), v.FirstLine(servers=1, connected=1)
    ),
    "models-one-server": Sample(
        "models",
        lambda: views.models(sv.models_page(1, 50, 596)),
        v.FirstLine(models=596, servers=1, connected=1),
    ),
    "models-one-server-troubled": Sample("models", lambda: views.models(sv.troubled_page(1)), _NEEDS),
    "models-three-servers": Sample("models", lambda: views.models(sv.models_page(3, 16)), _BUSY),
    "models-four-servers": Sample("models", lambda: views.models(sv.troubled_page(4)), _NEEDS),
    "models-fifty-servers": Sample(
        "models",
        lambda: views.models(sv.models_page(50, 50, 20_000, 3)),
        v.FirstLine(models=20_000, servers=50, connected=49),
    ),
    "models-no-match": Sample(
        "models",
        lambda: views.models(
            v.ModelsPage(sv.columns(3), (), 0, 1204, filters=v.Filters(search="dreemshaper", kind="lora"))
        ),
    ),
    "models-error": Sample(
        "models", lambda: views.models(v.ModelsPage(sv.columns(3), (), 0, 1204, error=_HUB_ERROR)), _BUSY
    ),
    "models-long-names": Sample(
        "models", lambda: views.models(hostile.named_page((sv.LONG_NAME, sv.RIGHT_TO_LEFT, "short", "x")))
    ),
    "models-hostile": Sample("models", lambda: views.models(hostile.named_page(hostile.NAMES))),
    "models-sample": Sample("models", lambda: views.models(sv.troubled_page(3)), _BUSY, sample=True),
    "models-hub-away": Sample("models", lambda: views.models(sv.models_page(3, 16)), _BUSY, away=True),
    "model": Sample("model", lambda: views.model(sv.details()), _BUSY),
    "model-long-name": Sample(
        "model", lambda: views.model(sv.details(sv.LONG_NAME, sv.RIGHT_TO_LEFT)), _BUSY
    ),
    "model-lead": Sample("model", lambda: views.model(sv.bare_details())),
    "model-hostile": Sample("model", lambda: views.model(hostile.details())),
    "model-not-found": Sample(
        "model",
        lambda: views.problem(
            v.Problem("No model 4711 is known.", "It may have been merged; search for it.")
        ),
    ),
    "servers": Sample("servers", lambda: views.servers(sv.servers_page()), _NEEDS),
    "servers-none": Sample("servers", lambda: views.servers(v.ServersPage(())), _NOTHING),
    "servers-frozen": Sample("servers", lambda: views.servers(sv.frozen_page()), _NEEDS),
    "servers-fifty": Sample("servers", lambda: views.servers(sv.many_servers())),
    "servers-hostile": Sample("servers", lambda: views.servers(hostile.servers())),
    "servers-hub-away": Sample("servers", lambda: views.servers(sv.servers_page()), _AWAY),
    "servers-no-hub": Sample(
        "servers", lambda: views.servers(v.ServersPage((sv.server(0, "studio"),))), _NO_HUB
    ),
    "transfers": Sample("transfers", lambda: transfer_views.transfers(sv.transfers_page()), _NEEDS),
    "transfers-none": Sample("transfers", lambda: transfer_views.transfers(transfer_views.TransfersPage(()))),
    "transfers-hostile": Sample("transfers", lambda: transfer_views.transfers(hostile.transfers())),
    "queue": Sample("queue", lambda: job_views.queue(sj.queue_page()), _QUEUED),
    "queue-empty": Sample("queue", lambda: job_views.queue(sj.empty_page())),
    "queue-paused": Sample("queue", lambda: job_views.queue(sj.paused_page()), _QUEUED),
    "queue-ended": Sample("queue", lambda: job_views.queue(sj.ended_page())),
    "queue-models": Sample("queue", lambda: job_views.queue(sj.groups_page())),
    "queue-no-match": Sample("queue", lambda: job_views.queue(sj.filtered_page())),
    "queue-hostile": Sample("queue", lambda: job_views.queue(sj.hostile_page())),
    "queue-models-hostile": Sample("queue", lambda: job_views.queue(sj.hostile_groups())),
    "job-waiting": Sample("job", lambda: job_views.job(sj.waiting_job()), _QUEUED),
    "job-finished": Sample("job", lambda: job_views.job(sj.finished_job())),
    "job-wrong": Sample("job", lambda: job_views.job(sj.finished_job("wrong"))),
    "job-hostile": Sample("job", lambda: job_views.job(sj.hostile_job("pending"))),
    "job-failed-hostile": Sample("job", lambda: job_views.job(sj.hostile_job("failed"))),
    "new-job": Sample("new", lambda: job_views.new_job(sj.new_job())),
    "new-job-filled": Sample("new", lambda: job_views.new_job(sj.filled_job())),
    "new-job-impossible": Sample("new", lambda: job_views.new_job(sj.impossible_job())),
    "new-job-hostile": Sample("new", lambda: job_views.new_job(sj.hostile_form()) + _picks()),
    "keys": Sample("keys", lambda: views.keys(sv.keys_page())),
    "keys-none": Sample("keys", lambda: views.keys(v.KeysPage(()))),
    "keys-new": Sample("keys", lambda: views.new_key(sv.new_key()) + views.keys(sv.keys_page())),
    "keys-hostile": Sample("keys", lambda: views.keys(hostile.keys())),
    "join-question": Sample("join", lambda: views.join(v.JoinPage(False, ("http://192.168.1.20:8383",)))),
    "join-ready": Sample(
        "join", lambda: views.join(v.JoinPage(True, ("http://192.168.1.20:8383", "http://10.0.0.4:8383")))
    ),
    "join-line": Sample(
        "join",
        lambda: views.join(v.JoinPage(True, ("http://192.168.1.20:8383",))) + views.join_line(sv.join_line()),
    ),
    "parts-hostile": Sample("join", hostile.parts),
    "login": Sample("login", lambda: views.login_page(v.LoginForm()), whole=True),
    "login-wrong": Sample(
        "login",
        lambda: views.login_page(
            v.LoginForm(v.Problem("This key is not known here.", "Make one with `stablequeue keys create`."))
        ),
        whole=True,
    ),
    "login-hostile": Sample(
        "login",
        lambda: views.login_page(v.LoginForm(v.Problem("".join(hostile.NAMES), hostile.NAMES[0]), True)),
        whole=True,
    ),
}
