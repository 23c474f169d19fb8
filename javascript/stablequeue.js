// StableQueue's views, on the hub's page and in a WebUI's tab: fetches them and swaps in what changed. DOM
// only, no dependencies; HTML comes from our own views alone, and text from anywhere else is only ever written
// as text. The two places differ in one object each (HubPage, WebuiTab); all else is Page.
"use strict";

(() => {
  const POLL_MS = 2000;
  const HUB_AWAY_MS = [2000, 4000, 8000, 15000, 30000];
  // A WebUI that comes up again is asked seldom: Classic's start with --api dies of any request in the second
  // before its own routes are there (starlette then refuses the middleware that it still has to add).
  const WEBUI_AWAY_MS = [4000, 15000, 60000, 120000, 300000];
  const TIMEOUT_MS = 15000;
  const TYPING_MS = 120;
  const CHECK_MS = 500;
  const PHONE = "(max-width: 700px)"; // as in style.css
  const VERSION = "X-StableQueue-Version";
  const NAV = "X-StableQueue-Nav";

  // --- times -------------------------------------------------------------------------------------------

  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long" });
  const dayAndYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric" });

  function dateText(at, now) {
    if (at.toDateString() === now.toDateString()) return "today";
    return (at.getFullYear() === now.getFullYear() ? day : dayAndYear).format(at);
  }

  function agoText(at, now) {
    const seconds = Math.max(0, Math.round((now - at) / 1000));
    if (seconds < 60) return "just now";
    if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
    return `${dateText(at, now)}, ${clock.format(at)}`;
  }

  function timeText(style, at, now) {
    if (style === "clock") return clock.format(at);
    if (style === "date") return dateText(at, now);
    if (style === "ago") return agoText(at, now);
    const date = dateText(at, now);
    return date === "today" ? clock.format(at) : `${date}, ${clock.format(at)}`;
  }

  function localise(root) {
    const now = new Date();
    for (const element of root.querySelectorAll("time[data-sq-time]")) {
      const at = new Date(element.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const text = timeText(element.dataset.sqTime, at, now);
      if (element.textContent !== text) element.textContent = text;
      const whole = `${dayAndYear.format(at)}, ${clock.format(at)}`;
      if (element.title !== whole) element.title = whole;
    }
  }

  // --- swapping in what changed --------------------------------------------------------------------------

  // Text, focus, scroll positions, open details and half-typed input live in the nodes; whoever keeps the
  // nodes keeps them all. So equal nodes stay, and only differences are written.

  function sameThing(before, after) {
    return before.nodeType === after.nodeType && before.nodeName === after.nodeName
      && (before.id || "") === (after.id || "");
  }

  // What the page gave a node stays: a section that somebody opened, a picture that is shown already.
  function keeps(before, after, name) {
    if (name === "open") return before.nodeName === "DETAILS";
    const pictured = { src: "data-sq-picture", href: "data-sq-picture-link" }[name];
    return pictured && before.hasAttribute(pictured) && before.getAttribute(pictured) === after.getAttribute(pictured);
  }

  function morphAttributes(before, after) {
    for (const { name } of [...before.attributes]) {
      if (!after.hasAttribute(name) && !keeps(before, after, name)) before.removeAttribute(name);
    }
    for (const { name, value } of [...after.attributes]) {
      if (keeps(before, after, name)) continue;
      if (before.getAttribute(name) !== value) before.setAttribute(name, value);
    }
  }

  function morph(before, after) {
    if (before.nodeType !== Node.ELEMENT_NODE) {
      if (before.nodeValue !== after.nodeValue) before.nodeValue = after.nodeValue;
      return;
    }
    morphAttributes(before, after);
    if (before.hasAttribute("data-sq-result")) return;
    if (before.nodeName === "SELECT" && before === document.activeElement) return;
    morphChildren(before, after);
  }

  function morphChildren(before, after) {
    const wantedIds = new Set([...after.children].map((child) => child.id));
    const named = new Map();
    for (const child of [...before.children]) {
      if (!child.id) continue;
      // What is gone goes first: moving all that follows past it would take the focus from it.
      if (wantedIds.has(child.id)) named.set(child.id, child);
      else child.remove();
    }
    let here = before.firstChild;
    for (const wanted of [...after.childNodes]) {
      // The spaces around what is gone: passing what follows before them would take the focus from it too.
      while (here && here.nodeType === Node.TEXT_NODE && wanted.nodeType === Node.ELEMENT_NODE) {
        const next = here.nextSibling;
        here.remove();
        here = next;
      }
      const known = wanted.id ? named.get(wanted.id) : null;
      if (known && known !== here && sameThing(known, wanted)) {
        before.insertBefore(known, here);
        morph(known, wanted);
      } else if (here && sameThing(here, wanted)) {
        const next = here.nextSibling;
        morph(here, wanted);
        here = next;
      } else {
        before.insertBefore(wanted, here);
      }
    }
    while (here) {
      const next = here.nextSibling;
      here.remove();
      here = next;
    }
  }

  function parsed(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    localise(template.content);
    return template.content;
  }

  // --- the two places --------------------------------------------------------------------------------------

  // The hub's own page: the place stands in the address.
  class HubPage {
    constructor(app) {
      this.base = app.dataset.sqBase;
      this.headers = {};
      this.awayMs = HUB_AWAY_MS;
      this.nobody = "The hub did not answer";
    }

    get query() { return window.location.search; }

    move(query, how) {
      window.history[how === "push" ? "pushState" : "replaceState"]({}, "", query || window.location.pathname);
    }

    back() { window.history.back(); }

    // The address that says only "the hub's page".
    isDoor() { return window.location.pathname === `${this.base}/` && !this.query; }

    watch(page, signal) { window.addEventListener("popstate", () => page.show(false), { signal }); }

    isShown() { return !document.hidden; }

    toTop() { window.scrollTo(0, 0); }

    titled(label) { document.title = `${label} · StableQueue`; }

    // Pictures lie where the place keeps them, which the views do not know.
    placePictures(root) {
      for (const picture of root.querySelectorAll("img[data-sq-picture]")) {
        picture.src = `${this.base}/api/v1/jobs/${picture.dataset.sqPicture}`;
      }
      for (const link of root.querySelectorAll("a[data-sq-picture-link]")) {
        link.href = `${this.base}/api/v1/jobs/${link.dataset.sqPictureLink}`;
      }
    }

    shown() {}

    refused(answer) {
      if (answer.status === 401) window.location.assign(`${this.base}/login`);
    }

    awayText(since) {
      return `Hub not reachable since ${since}. What you see is from then; it is tried again by itself.`;
    }
  }

  // A tab among others of a WebUI's page: the address is not ours, the place is kept here. One per page, so
  // that the place outlives a tab that Gradio draws anew.
  class WebuiTab {
    constructor() {
      this.places = [""];
      this.onShown = [];
      this.token = null;
      this.awayMs = WEBUI_AWAY_MS;
      this.nobody = "This WebUI did not answer";
    }

    adopt(app) {
      this.app = app;
      this.token = app.dataset.sqToken;
      app.removeAttribute("data-sq-token");
      // Relative to the page's own address, as the WebUI's own scripts do: it may lie below a path.
      this.base = new URL(app.dataset.sqBase, document.baseURI).href;
      this.headers = { "X-StableQueue-Token": this.token };
    }

    get query() { return this.places[this.places.length - 1]; }

    move(query, how) {
      if (how === "push") this.places = [...this.places.slice(-50), query];
      else this.places[this.places.length - 1] = query;
    }

    isDoor() { return false; }

    back() {
      this.places.pop();
      this.page.show(false);
    }

    watch(page, signal) {
      this.page = page;
      const seen = new IntersectionObserver(() => page.wake());
      seen.observe(this.app);
      signal.addEventListener("abort", () => seen.disconnect());
      // The WebUI's own keys (generate, skip, interrupt) look for buttons that our tab has not.
      this.app.addEventListener("keydown", (event) => {
        const enter = event.key === "Enter" && (event.ctrlKey || event.metaKey || event.altKey);
        if (enter || event.key === "Escape") event.stopPropagation();
      }, { signal });
    }

    isShown() { return !document.hidden && this.app.getClientRects().length > 0; }

    toTop() {
      if (this.app.getBoundingClientRect().top < 0) this.app.scrollIntoView();
    }

    titled() {}

    // Our routes want the token, which an <img> cannot send: a script of its own fetches what is shown.
    placePictures() {}

    shown(root) {
      for (const callback of this.onShown) callback(root);
    }

    // Another process answers at this address, which knows neither our token nor, perhaps, StableQueue.
    refused(answer) {
      if (answer.status === 404 && !answer.headers.get(VERSION)) this.page.lost();
    }

    awayText(since) {
      return `This WebUI does not answer since ${since}. What you see is from then; it is tried again by itself.`;
    }

    // Brings our tab to the front.
    bringUp() {
      if (this.app.getClientRects().length > 0) return;
      const panel = this.app.closest("[id^=tab_]");
      const labelled = [...document.querySelectorAll("#tabs button")].find((button) => button.textContent.trim() === "StableQueue");
      const button = (panel && document.getElementById(`${panel.id}-button`)) || labelled;
      if (button) button.click();
    }
  }

  // --- one page ------------------------------------------------------------------------------------------

  class Page {
    constructor(app, host) {
      this.app = app;
      this.host = host;
      this.view = app.querySelector("#sq-view");
      this.firstLine = app.querySelector("#sq-first-line");
      this.away = app.querySelector("#sq-away");
      this.said = app.querySelector("#sq-said");
      this.home = this.query().get("view") ? "models" : app.dataset.sqView;
      this.tags = new Map();
      this.failures = 0;
      this.awaySince = null;
      this.turn = 0;
      this.timer = null;
      this.typing = null;
      this.ended = new AbortController();
    }

    parsed(html) {
      const content = parsed(html);
      this.host.placePictures(content);
      return content;
    }

    start() {
      const { signal } = this.ended;
      localise(this.app);
      this.host.placePictures(this.app);
      this.app.addEventListener("click", (event) => this.onSecondClick(event), { signal, capture: true });
      this.app.addEventListener("click", (event) => this.onClick(event), { signal });
      this.app.addEventListener("keydown", (event) => { if (event.key === "Escape") this.closeMenus(event.target); }, { signal });
      document.addEventListener("pointerdown", (event) => this.closeMenus(event.target, true), { signal });
      this.app.addEventListener("submit", (event) => this.onSubmit(event), { signal });
      this.app.addEventListener("input", (event) => this.onFilter(event, TYPING_MS), { signal });
      this.app.addEventListener("input", (event) => this.onForm(event), { signal });
      this.app.addEventListener("toggle", (event) => this.onPickerOpen(event), { signal, capture: true });
      for (const kind of ["dragover", "drop"]) this.app.addEventListener(kind, (event) => this.onDrop(event), { signal });
      this.app.addEventListener("change", (event) => this.onFilter(event, 0), { signal });
      this.app.addEventListener("change", (event) => this.onPick(event), { signal });
      document.addEventListener("visibilitychange", () => this.wake(), { signal });
      window.addEventListener("online", () => this.wake(), { signal });
      const clockHand = setInterval(() => { if (this.host.isShown()) localise(this.app); }, 10000);
      signal.addEventListener("abort", () => { clearInterval(clockHand); clearTimeout(this.timer); });
      this.host.watch(this, signal);
      this.view.dataset.sqShown = this.fragmentAddress();
      if (this.landsOnQueue()) this.land();
      else this.plan(POLL_MS);
    }

    // On a phone the queue is what one looks for; a place that was asked for stays.
    landsOnQueue() {
      const link = this.app.querySelector("[data-sq-nav=queue]");
      return link && this.host.isDoor() && window.matchMedia(PHONE).matches;
    }

    land() {
      this.view.replaceChildren();
      this.go("?view=queue", "replace");
    }

    stop() {
      this.turn += 1;
      this.ended.abort();
    }

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

    plan(delay) {
      clearTimeout(this.timer);
      this.timer = this.ended.signal.aborted || !this.host.isShown() ? null : setTimeout(() => this.poll(), delay);
    }

    // Something may have become visible again: what slept asks at once, and what waits for an answer too; what is
    // awake keeps its pace.
    wake() {
      const waits = this.timer === null || this.failures > 0;
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
        this.failed(error);
      } finally {
        this.asking = false;
      }
      if (turn === this.turn) this.plan(this.failures ? this.awayDelay() : POLL_MS);
    }

    awayDelay() {
      return this.host.awayMs[Math.min(this.failures, this.host.awayMs.length) - 1];
    }

    // Fetches first line and view; writes them unless the person has meanwhile gone elsewhere.
    async refresh(turn) {
      const address = this.fragmentAddress();
      // A form that is being filled in stays as it is.
      const still = this.view.dataset.sqShown === address && this.view.querySelector("[data-sq-still]");
      const shown = Promise.all([this.fetchText(`${this.host.base}/views/first-line`), still ? null : this.fetchText(address)]);
      const [line, view] = await shown;
      if (this.ended.signal.aborted) return;
      this.reached();
      if (line !== null) morphChildren(this.firstLine, this.parsed(line));
      if (turn !== this.turn || view === null) return;
      const scrolled = [window.scrollX, window.scrollY];
      morphChildren(this.view, this.parsed(view));
      this.view.dataset.sqShown = address;
      this.host.shown(this.view);
      window.scrollTo(...scrolled);
    }

    // The answer's HTML, or null when it is what is shown already.
    async fetchText(address) {
      const tag = this.tags.get(address);
      const answer = await this.ask(address, { headers: tag ? { "If-None-Match": tag } : {} });
      this.showNav(answer.headers.get(NAV));
      if (answer.status === 304) return null;
      const type = answer.headers.get("Content-Type") || "";
      // A WebUI's own answer about a hub that fails is a view like others; a hub's own failure is not.
      if (answer.status >= 500 && !answer.headers.get(VERSION)) throw new Error(`answered ${answer.status}`);
      if (!type.startsWith("text/html")) throw new RefusedError(await errorText(answer));
      if (answer.ok && answer.headers.get("ETag")) this.tags.set(address, answer.headers.get("ETag"));
      return answer.text();
    }

    async ask(address, options) {
      const control = new AbortController();
      const timer = setTimeout(() => control.abort(), TIMEOUT_MS);
      const headers = { ...this.host.headers, ...options.headers };
      try {
        const answer = await fetch(address, { cache: "no-store", credentials: "same-origin", redirect: "error", signal: control.signal, ...options, headers });
        this.host.refused(answer);
        return answer;
      } finally {
        clearTimeout(timer);
      }
    }

    reached() {
      this.failures = 0;
      this.awaySince = null;
      this.showAway(false);
    }

    failed(error) {
      if (this.ended.signal.aborted) return;
      this.failures += 1;
      this.awaySince = this.awaySince || new Date();
      if (error instanceof RefusedError) this.sayAway(error.message);
      else if (this.failures >= 2) this.sayAway(this.host.awayText(clock.format(this.awaySince)));
    }

    // Nothing that is asked from this page will be answered any more: no further requests.
    lost() {
      if (this.ended.signal.aborted) return;
      this.ended.abort();
      this.sayAway("This WebUI was started again since this page was loaded. Reload the page to go on.");
      const reload = this.away.querySelector("[data-sq-reload]");
      reload.parentElement.hidden = false;
      reload.addEventListener("click", () => window.location.reload());
    }

    sayAway(text) {
      const place = this.away.querySelector("[data-sq-away-text]") || this.away;
      if (place.textContent !== text) place.textContent = text;
      this.showAway(true);
    }

    // In the place of the first line, which is no longer true then.
    showAway(away) {
      if (this.away.hidden !== away) return;
      this.away.hidden = !away;
      this.firstLine.hidden = away;
    }

    // --- going somewhere -----------------------------------------------------------------------------------

    go(query, how) {
      clearTimeout(this.typing);
      this.host.move(query, query === this.host.query ? "replace" : how);
      return this.show(how === "push");
    }

    // Shows what the place names. ``fresh``: a new place, so from the top and with the focus on it.
    async show(fresh) {
      if (this.ended.signal.aborted) return;
      this.turn += 1;
      const turn = this.turn;
      clearTimeout(this.timer);
      this.tags.delete(this.fragmentAddress());
      this.view.setAttribute("aria-busy", "true");
      try {
        const sameView = this.markNav();
        await this.refresh(turn);
        if (turn !== this.turn) return;
        this.syncFilters();
        if (fresh) this.arrive(sameView);
      } catch (error) {
        this.failures = Math.max(this.failures, 1);
        this.failed(error);
      } finally {
        if (turn === this.turn) {
          this.view.removeAttribute("aria-busy");
          this.plan(this.failures ? this.host.awayMs[0] : POLL_MS);
        }
      }
    }

    arrive(sameView) {
      this.host.toTop();
      const heading = this.view.querySelector("h1, caption");
      if (!sameView) this.view.focus({ preventScroll: true });
      this.said.textContent = heading ? heading.textContent : "";
    }

    // The ways that lead somewhere now; without a word about them all stay as they are.
    showNav(ways) {
      if (!ways) return;
      const shown = ways.split(",");
      for (const link of this.app.querySelectorAll("[data-sq-nav]")) {
        link.parentElement.hidden = !shown.includes(link.dataset.sqNav);
      }
    }

    markNav() {
      const view = this.viewName();
      const before = this.app.dataset.sqView;
      const current = { model: "models", job: "queue", new: "queue" }[view] || view;
      this.app.dataset.sqView = view;
      for (const link of this.app.querySelectorAll("[data-sq-nav]")) {
        if (link.dataset.sqNav === current) {
          link.setAttribute("aria-current", "page");
          this.host.titled(link.textContent);
        } else {
          link.removeAttribute("aria-current");
        }
      }
      return before === view;
    }

    onClick(event) {
      const insert = event.target.closest("[data-sq-insert]");
      if (insert) {
        this.insert(insert);
        return;
      }
      const copy = event.target.closest("[data-sq-copy]");
      if (copy) {
        this.copy(copy);
        return;
      }
      const link = event.target.closest("a[data-sq-link]");
      if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      if (link.hasAttribute("data-sq-back") && this.cameFromModels) this.host.back();
      else this.follow(link);
    }

    follow(link) {
      const before = this.app.dataset.sqView;
      this.cameFromModels = before === "models";
      this.go(link.getAttribute("href"), "push");
    }

    // --- filters -------------------------------------------------------------------------------------------

    onFilter(event, delay) {
      const form = event.target.closest("form[data-sq-filter]");
      if (!form) return;
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.filter(form), delay);
    }

    filter(form) {
      const query = new URLSearchParams();
      for (const [name, value] of new FormData(form)) if (value) query.set(name, value);
      const wanted = `?${query}`;
      if (wanted !== this.host.query) this.go(wanted, "replace");
    }

    // After going back, or following a link: the fields show the place again.
    syncFilters() {
      const form = this.view.querySelector("form[data-sq-filter]");
      if (!form) return;
      const query = this.query();
      for (const field of form.elements) {
        if (!field.name || field === document.activeElement || field.type === "hidden") continue;
        const wanted = query.get(field.name) || "";
        if (field.value !== wanted) field.value = wanted;
      }
    }

    // The second click of a double click is for the button of the first, not for what stands there by then:
    // where Cancel was is "Use for a new job". What starts a job is pressed once by it.
    onSecondClick(event) {
      const at = event.target.closest("button, a, summary");
      const name = at ? `${at.closest("form")?.dataset.sqPost ?? ""} ${at.value ?? ""} ${at.textContent}` : "";
      if (event.detail <= 1) {
        this.clicked = name;
      } else if (at && (name !== this.clicked || at.closest("[data-sq-once]"))) {
        event.preventDefault();
        event.stopPropagation();
      }
    }

    // --- forms and copying ---------------------------------------------------------------------------------

    onSubmit(event) {
      const form = event.target;
      if (form.matches("[data-sq-filter]")) {
        event.preventDefault();
        clearTimeout(this.typing);
        this.filter(form);
      } else if (form.matches("[data-sq-post]")) {
        event.preventDefault();
        this.post(form, event.submitter);
      }
    }

    // ``pressed``: of several buttons the one that says what to do.
    async post(form, pressed) {
      const result = form.querySelector("[data-sq-result]");
      const buttons = [...form.querySelectorAll("button[type=submit]")];
      const fields = new URLSearchParams(new FormData(form));
      if (pressed && pressed.name) fields.set(pressed.name, pressed.value);
      if (form.hasAttribute("data-sq-once")) this.mark(form, fields);
      for (const button of buttons) button.setAttribute("aria-disabled", "true");
      if (form.dataset.sqBusy) return;
      form.dataset.sqBusy = "1";
      try {
        const answer = await this.ask(`${this.host.base}/views/${form.dataset.sqPost}`, { method: "POST", body: fields });
        await this.answered(form, result, answer);
      } catch (error) {
        result.textContent = `${this.host.nobody}, so this may not have been done. Try again.`;
      } finally {
        delete form.dataset.sqBusy;
        for (const button of buttons) button.removeAttribute("aria-disabled");
      }
    }

    // The same sent again because no answer came is done once: it bears the same mark until it was done.
    mark(form, fields) {
      const body = `${fields}`;
      if (!this.marked || this.marked.form !== form || this.marked.body !== body) {
        const mark = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0"));
        this.marked = { form, body, mark: mark.join("") };
      }
      fields.set("once", this.marked.mark);
    }

    // The answer is a fragment (a notice, a new key, the line to join), or an error as the API writes it.
    async answered(form, result, answer) {
      const type = answer.headers.get("Content-Type") || "";
      if (type.startsWith("text/html") && answer.ok && form.hasAttribute("data-sq-into-view")) {
        this.showForm(await answer.text());
        return;
      }
      if (type.startsWith("text/html")) {
        result.replaceChildren(this.parsed(await answer.text()));
        if (answer.ok) this.marked = null;
        if (answer.ok && answer.headers.get("X-StableQueue-Go")) this.go(answer.headers.get("X-StableQueue-Go"), "push");
      } else {
        result.textContent = await errorText(answer);
      }
      if (answer.ok) {
        this.unpick(form);
        await this.poll();
      }
    }

    // --- the form for a new job ------------------------------------------------------------------------------

    onForm(event) {
      const picker = event.target.closest("[data-sq-picker-search]");
      const live = event.target.closest("form[data-sq-live]");
      if (picker) this.later(() => this.search(picker.closest("[data-sq-picker]")), TYPING_MS);
      else if (live) this.later(() => this.check(live), CHECK_MS);
    }

    // What a person types is answered once they pause.
    later(action, delay) {
      clearTimeout(this.typing);
      this.typing = setTimeout(action, delay);
    }

    async check(form) {
      const place = form.querySelector("[data-sq-check]");
      if (!place || !form.isConnected) return;
      try {
        const body = new URLSearchParams(new FormData(form));
        const answer = await this.ask(`${this.host.base}/views/${form.dataset.sqLive}`, { method: "POST", body });
        const type = answer.headers.get("Content-Type") || "";
        if (type.startsWith("text/html")) morphChildren(place, this.parsed(await answer.text()));
        else place.textContent = await errorText(answer);
      } catch (error) {
        place.textContent = `${this.host.nobody}.`;
      }
    }

    onPickerOpen(event) {
      if (event.target.matches("[data-sq-picker]") && event.target.open) {
        this.search(event.target);
        event.target.querySelector("[data-sq-picker-search]").focus();
      }
    }

    async search(picker) {
      const query = new URLSearchParams({ kind: picker.dataset.sqPicker, search: picker.querySelector("[data-sq-picker-search]").value });
      const list = picker.querySelector("[data-sq-picker-list]");
      try {
        const answer = await this.ask(`${this.host.base}/views/pick?${query}`, {});
        if (answer.ok) list.replaceChildren(this.parsed(await answer.text()));
        else list.textContent = await errorText(answer);
      } catch (error) {
        list.textContent = `${this.host.nobody}.`;
      }
    }

    // A checkpoint takes the place of the one before, a LoRA is written behind the prompt.
    insert(button) {
      const form = button.closest("form");
      const lora = button.dataset.sqKind === "lora";
      const field = form.elements[lora ? "prompt" : "checkpoint"];
      const before = field.value.trimEnd();
      field.value = lora && before ? `${before} ${button.dataset.sqInsert}` : button.dataset.sqInsert;
      button.closest("details").open = false;
      field.focus();
      this.check(form);
    }

    onDrop(event) {
      const place = event.target.closest("[data-sq-drop]");
      if (!place || !event.dataTransfer) return;
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      if (event.type === "drop" && file) this.readPicture(place, file);
    }

    async readPicture(place, file) {
      const result = place.querySelector("[data-sq-result]");
      result.textContent = "One moment…";
      try {
        const answer = await this.ask(`${this.host.base}/views/${place.dataset.sqDrop}`, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
        if (answer.ok) this.showForm(await answer.text());
        else result.textContent = await errorText(answer);
      } catch (error) {
        result.textContent = `${this.host.nobody}. Try again.`;
      }
    }

    showForm(html) {
      this.view.replaceChildren(this.parsed(html));
      this.host.toTop();
      this.view.focus({ preventScroll: true });
      this.said.textContent = "The form is filled in";
    }

    // A row's menu lies over others: Escape closes it, and so does a press outside of it.
    closeMenus(target, others = false) {
      for (const menu of this.view.querySelectorAll("details.sq-menu[open]")) {
        const inside = menu.contains(target);
        if (inside === others) continue;
        menu.open = false;
        if (inside) menu.querySelector("summary").focus();
      }
    }

    // --- choosing several ----------------------------------------------------------------------------------

    onPick(event) {
      const file = event.target.closest("[data-sq-file]");
      if (file && file.files.length) this.readPicture(file.closest("[data-sq-drop]"), file.files[0]);
      const all = event.target.closest("[data-sq-pick-all]");
      if (!all && !event.target.closest("[data-sq-pick]")) return;
      if (all) for (const one of this.view.querySelectorAll("[data-sq-pick]")) one.checked = all.checked;
      this.showPicked();
    }

    showPicked() {
      const said = this.view.querySelector("[data-sq-picked]");
      const number = this.view.querySelectorAll("[data-sq-pick]:checked").length;
      if (said) said.textContent = number === 1 ? "1 job chosen" : `${number} jobs chosen`;
    }

    // What was done to the chosen ones is done; they are chosen no longer.
    unpick(form) {
      if (!form.querySelector("[data-sq-picked]")) return;
      for (const one of this.view.querySelectorAll("[data-sq-pick], [data-sq-pick-all]")) one.checked = false;
      for (const open of form.querySelectorAll("details[open]")) open.open = false;
    }

    async copy(button) {
      const code = button.closest(".sq-copyable").querySelector("code");
      const done = await copyText(code);
      button.textContent = done ? "Copied" : "Selected";
      this.said.textContent = done ? "Copied" : "Selected; press Ctrl+C";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    }
  }

  // An answer that says why there is no view.
  class RefusedError extends Error {}

  // What an answer that is no view says, as the API writes errors.
  async function errorText(answer) {
    try {
      const { error } = await answer.json();
      return `${error.message} ${error.remedy || ""}`.trim();
    } catch (error) {
      return `The address of this page answers ${answer.status} instead of a view.`;
    }
  }

  // Copies an element's text. Without the clipboard (plain HTTP in a network) it is selected instead.
  async function copyText(element) {
    if (window.isSecureContext && navigator.clipboard) {
      try {
        await navigator.clipboard.writeText(element.textContent);
        return true;
      } catch (error) {
        // Refused: the way below.
      }
    }
    window.getSelection().selectAllChildren(element);
    try {
      return document.execCommand("copy");
    } catch (error) {
      return false;
    }
  }

  // --- starting ------------------------------------------------------------------------------------------

  const tab = new WebuiTab();
  let page = null;
  let arrived;
  const ready = new Promise((resolve) => { arrived = resolve; });

  // Starts when the frame is there, and again when Gradio has drawn it anew.
  function start() {
    // Gradio's look for texts (its tables, lists and links) is not for what is ours.
    for (const ours of document.querySelectorAll(".prose .sq-app")) ours.closest(".prose").classList.remove("prose");
    const app = document.getElementById("sq-app");
    if (!app || app.dataset.sqStarted) return;
    app.dataset.sqStarted = "1";
    if (window.location.protocol === "file:") {
      localise(app);
      return;
    }
    if (page) page.stop();
    if (app.dataset.sqToken) startTab(app);
    else {
      page = new Page(app, new HubPage(app));
      page.start();
    }
  }

  function startTab(app) {
    tab.adopt(app);
    page = new Page(app, tab);
    page.start();
    arrived();
    if (tab.query) page.show(false);
  }

  // For our own scripts beside this one (cards, the line under Generate).
  window.stablequeue = {
    // Shows a place such as "?view=model&id=..." in our tab.
    async open(query) {
      await ready;
      tab.bringUp();
      await page.go(query, "push");
    },
    // fetch() for a route below /stablequeue/v1/, with the token. Waits until the tab has brought it.
    async ask(path, options = {}) {
      await ready;
      if (page.ended.signal.aborted) throw new Error("This WebUI was started again; the page has to be loaded again.");
      return page.ask(`${tab.base}/${path}`, options);
    },
    // Calls back with our view each time that something in it was replaced.
    onShown(callback) {
      tab.onShown.push(callback);
      if (page) callback(page.view);
    },
  };

  start();
  // A WebUI adds its tabs to the page some time after this script has run, and may draw them again.
  new MutationObserver(start).observe(document.documentElement, { childList: true, subtree: true });
})();
