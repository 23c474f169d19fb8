// One page of views: where it is, and keeping what it shows up to date. The same on the hub's page and in a
// WebUI's tab, which differ in one object each, the place (HubPage, WebuiTab). HTML comes from our own views
// alone, and text from anywhere else is only ever written as text.
"use strict";

(() => {
  window.stablequeueParts ??= {};
  const parts = window.stablequeueParts;

  const POLL_MS = 2000;
  const CLOCK_MS = 10000;

  class Page {
    constructor(app, host) {
      this.app = app;
      this.host = host;
      this.view = app.querySelector("#sq-view");
      this.firstLine = app.querySelector("#sq-first-line");
      this.said = app.querySelector("#sq-said");
      this.home = this.query().get("view") ? "models" : app.dataset.sqView;
      this.asking = false;
      this.turn = 0;
      this.timer = null;
      this.typing = null;
      this.ended = new AbortController();
      this.requests = new parts.Requests(this);
      this.away = new parts.Away(this);
      this.navigation = new parts.Navigation(this);
      this.filters = new parts.Filters(this);
      this.forms = new parts.Forms(this);
      this.newJob = new parts.NewJob(this);
      this.chosen = new parts.Chosen(this);
      this.clicks = new parts.Clicks(this);
    }

    start() {
      const { signal } = this.ended;
      parts.times.localise(this.app);
      this.host.placePictures(this.app);
      for (const part of [this.clicks, this.navigation, this.filters, this.forms, this.newJob, this.chosen]) part.listen(signal);
      document.addEventListener("visibilitychange", () => this.wake(), { signal });
      window.addEventListener("online", () => this.wake(), { signal });
      const clockHand = setInterval(() => { if (this.host.isShown()) parts.times.localise(this.app); }, CLOCK_MS);
      signal.addEventListener("abort", () => { clearInterval(clockHand); clearTimeout(this.timer); });
      this.host.watch(this, signal);
      this.view.dataset.sqShown = this.fragmentAddress();
      if (this.navigation.landsOnQueue()) this.land();
      else this.plan(POLL_MS);
    }

    land() {
      this.view.replaceChildren();
      this.go("?view=queue", "replace");
    }

    stop() {
      this.turn += 1;
      this.ended.abort();
    }

    parsed(html) {
      const content = parts.morph.parsed(html);
      this.host.placePictures(content);
      return content;
    }

    // What a person types is answered once they pause.
    later(action, delay) {
      clearTimeout(this.typing);
      this.typing = setTimeout(action, delay);
    }

    cancelLater() {
      clearTimeout(this.typing);
    }

    // --- where it is ---------------------------------------------------------------------------------------

    query() {
      return new URLSearchParams(this.host.query);
    }

    // The view that the place names; without one, the view that came with the page.
    viewName() {
      return this.query().get("view") || this.home;
    }

    // The address of the fragment for a place: ?view=model&id=12 is /views/model/12.
    fragmentAddress() {
      const query = this.query();
      query.delete("view");
      let path = encodeURIComponent(this.viewName());
      if (query.has("id")) {
        path += `/${encodeURIComponent(query.get("id"))}`;
        query.delete("id");
      }
      const rest = query.toString();
      return `${this.host.base}/views/${path}${rest ? `?${rest}` : ""}`;
    }

    // --- keeping up to date --------------------------------------------------------------------------------

    plan(delay) {
      clearTimeout(this.timer);
      this.timer = this.ended.signal.aborted || !this.host.isShown() ? null : setTimeout(() => this.poll(), delay);
    }

    // Something may have become visible again: what slept asks at once, and what waits for an answer too; what is
    // awake keeps its pace.
    wake() {
      const waits = this.timer === null || this.away.failures > 0;
      if (waits && !this.ended.signal.aborted && this.host.isShown()) this.poll();
    }

    async poll() {
      clearTimeout(this.timer);
      this.timer = null;
      if (this.ended.signal.aborted || this.asking || !this.host.isShown()) return;
      const turn = this.turn;
      this.asking = true;
      try {
        await this.refresh(turn);
      } catch (error) {
        this.away.failed(error);
      } finally {
        this.asking = false;
      }
      if (turn === this.turn) this.plan(this.away.failures ? this.away.delay() : POLL_MS);
    }

    // Fetches first line and view; writes them unless the person has meanwhile gone elsewhere.
    async refresh(turn) {
      const address = this.fragmentAddress();
      // A form that is being filled in stays as it is.
      const still = this.view.dataset.sqShown === address && this.view.querySelector("[data-sq-still]");
      const line = this.requests.fetchText(`${this.host.base}/views/first-line`);
      const [lineHtml, viewHtml] = await Promise.all([line, still ? null : this.requests.fetchText(address)]);
      if (this.ended.signal.aborted) return;
      this.away.reached();
      if (lineHtml !== null) parts.morph.morphChildren(this.firstLine, this.parsed(lineHtml));
      if (turn !== this.turn || viewHtml === null) return;
      const scrolled = [window.scrollX, window.scrollY];
      parts.morph.morphChildren(this.view, this.parsed(viewHtml));
      this.view.dataset.sqShown = address;
      this.host.shown(this.view);
      window.scrollTo(...scrolled);
    }

    // --- going somewhere -----------------------------------------------------------------------------------

    go(query, how) {
      this.cancelLater();
      this.host.move(query, query === this.host.query ? "replace" : how);
      return this.show(how === "push");
    }

    // Shows what the place names. ``fresh``: a new place, so from the top and with the focus on it.
    async show(fresh) {
      if (this.ended.signal.aborted) return;
      this.turn += 1;
      const turn = this.turn;
      clearTimeout(this.timer);
      this.requests.forget(this.fragmentAddress());
      this.view.setAttribute("aria-busy", "true");
      try {
        const sameView = this.navigation.mark(this.viewName());
        await this.refresh(turn);
        if (turn !== this.turn) return;
        this.filters.sync();
        if (fresh) this.arrive(sameView);
      } catch (error) {
        this.away.failed(error, true);
      } finally {
        if (turn === this.turn) {
          this.view.removeAttribute("aria-busy");
          this.plan(this.away.failures ? this.host.awayMs[0] : POLL_MS);
        }
      }
    }

    arrive(sameView) {
      this.host.toTop();
      const heading = this.view.querySelector("h1, caption");
      if (!sameView) this.view.focus({ preventScroll: true });
      this.said.textContent = heading ? heading.textContent : "";
    }
  }

  parts.Page = Page;
})();
