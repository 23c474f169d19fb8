// When no answer comes: what the page says then, in the place of its first line, and when it tries again.
"use strict";

(() => {
  window.stablequeueParts ??= {};
  const parts = window.stablequeueParts;

  class Away {
    constructor(page) {
      this.host = page.host;
      this.ended = page.ended;
      this.firstLine = page.firstLine;
      this.line = page.app.querySelector("#sq-away");
      this.failures = 0;
      this.since = null;
    }

    delay() {
      return this.host.awayMs[Math.min(this.failures, this.host.awayMs.length) - 1];
    }

    reached() {
      this.failures = 0;
      this.since = null;
      this.show(false);
    }

    // Of one failure nothing is said yet, unless it is the answer to what a person asked for.
    failed(error, asked = false) {
      if (this.ended.signal.aborted) return;
      this.failures = (asked ? Math.max(this.failures, 1) : this.failures) + 1;
      this.since = this.since || new Date();
      if (error instanceof parts.requests.RefusedError) this.say(error.message);
      else if (this.failures >= 2) this.say(this.host.awayText(parts.times.clock.format(this.since)));
    }

    // Nothing that is asked from this page will be answered any more: no further requests.
    lost() {
      if (this.ended.signal.aborted) return;
      this.ended.abort();
      this.say("This WebUI was restarted since this page was loaded. Reload the page to continue.");
      const reload = this.line.querySelector("[data-sq-reload]");
      reload.parentElement.hidden = false;
      reload.addEventListener("click", () => window.location.reload());
    }

    say(text) {
      const place = this.line.querySelector("[data-sq-away-text]") || this.line;
      if (place.textContent !== text) place.textContent = text;
      this.show(true);
    }

    // In the place of the first line, which is no longer true then.
    show(away) {
      if (this.line.hidden !== away) return;
      this.line.hidden = !away;
      this.firstLine.hidden = away;
    }
  }

  parts.Away = Away;
})();
