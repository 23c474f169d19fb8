// StableQueue's page: fetches views and swaps in what changed. DOM only, no dependencies; HTML comes from
// our own views alone, and text from anywhere else is only ever written as text.
"use strict";

(() => {
  const POLL_MS = 2000;
  const AWAY_MS = [2000, 4000, 8000, 15000, 30000];
  const TIMEOUT_MS = 15000;
  const TYPING_MS = 250;

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

  function morphAttributes(before, after) {
    const opened = before.nodeName === "DETAILS";
    for (const { name } of [...before.attributes]) {
      if (!after.hasAttribute(name) && !(opened && name === "open")) before.removeAttribute(name);
    }
    for (const { name, value } of [...after.attributes]) {
      if (opened && name === "open") continue;
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

  // --- one page ------------------------------------------------------------------------------------------

  class Page {
    constructor(app) {
      this.app = app;
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
    }

    start() {
      localise(this.app);
      if (window.location.protocol === "file:") return;
      this.app.addEventListener("click", (event) => this.onClick(event));
      this.app.addEventListener("submit", (event) => this.onSubmit(event));
      this.app.addEventListener("input", (event) => this.onFilter(event, TYPING_MS));
      this.app.addEventListener("change", (event) => this.onFilter(event, 0));
      window.addEventListener("popstate", () => this.show(false));
      document.addEventListener("visibilitychange", () => this.wake());
      window.addEventListener("online", () => this.wake());
      setInterval(() => { if (!document.hidden) localise(this.app); }, 10000);
      this.plan(POLL_MS);
    }

    query() {
      return new URLSearchParams(window.location.search);
    }

    // The view that the address names; without one, the view that came with the page.
    viewName() {
      return this.query().get("view") || this.home;
    }

    // The address of the fragment for an address of the page: ?view=model&id=12 is /views/model/12.
    fragmentAddress() {
      const query = this.query();
      query.delete("view");
      let path = encodeURIComponent(this.viewName());
      if (query.has("id")) {
        path += `/${encodeURIComponent(query.get("id"))}`;
        query.delete("id");
      }
      const rest = query.toString();
      return `${this.app.dataset.sqBase}/views/${path}${rest ? `?${rest}` : ""}`;
    }

    plan(delay) {
      clearTimeout(this.timer);
      this.timer = document.hidden ? null : setTimeout(() => this.poll(), delay);
    }

    wake() {
      if (document.hidden) clearTimeout(this.timer);
      else this.poll();
    }

    async poll() {
      clearTimeout(this.timer);
      const turn = this.turn;
      try {
        await this.refresh(turn);
      } catch (error) {
        this.failed(error);
      }
      if (turn === this.turn) this.plan(this.failures ? AWAY_MS[Math.min(this.failures, AWAY_MS.length) - 1] : POLL_MS);
    }

    // Fetches first line and view; writes them unless the person has meanwhile gone elsewhere.
    async refresh(turn) {
      const base = this.app.dataset.sqBase;
      const address = this.fragmentAddress();
      const [line, view] = await Promise.all([this.fetchText(`${base}/views/first-line`), this.fetchText(address)]);
      this.reached();
      if (line !== null) morphChildren(this.firstLine, parsed(line));
      if (turn !== this.turn || view === null) return;
      const scrolled = [window.scrollX, window.scrollY];
      morphChildren(this.view, parsed(view));
      this.view.dataset.sqShown = address;
      window.scrollTo(...scrolled);
    }

    // The answer's HTML, or null when it is what is shown already.
    async fetchText(address) {
      const tag = this.tags.get(address);
      const answer = await this.ask(address, { headers: tag ? { "If-None-Match": tag } : {} });
      if (answer.status === 304) return null;
      const type = answer.headers.get("Content-Type") || "";
      if (!type.startsWith("text/html")) throw new Error(`answered ${answer.status}`);
      const text = await answer.text();
      if (answer.ok && answer.headers.get("ETag")) this.tags.set(address, answer.headers.get("ETag"));
      if (answer.status >= 500) throw new Error(`answered ${answer.status}`);
      return text;
    }

    async ask(address, options) {
      const control = new AbortController();
      const timer = setTimeout(() => control.abort(), TIMEOUT_MS);
      try {
        const answer = await fetch(address, { cache: "no-store", credentials: "same-origin", redirect: "error", signal: control.signal, ...options });
        if (answer.status === 401) this.signedOut();
        return answer;
      } finally {
        clearTimeout(timer);
      }
    }

    signedOut() {
      window.location.assign(`${this.app.dataset.sqBase}/login`);
    }

    reached() {
      this.failures = 0;
      this.awaySince = null;
      this.showAway(false);
    }

    failed() {
      this.failures += 1;
      this.awaySince = this.awaySince || new Date();
      if (this.failures < 2) return;
      const text = `Hub not reachable since ${clock.format(this.awaySince)}. What you see is from then; it is tried again by itself.`;
      if (this.away.textContent !== text) this.away.textContent = text;
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
      if (query === window.location.search && how === "push") how = "replace";
      window.history[how === "push" ? "pushState" : "replaceState"]({}, "", query || window.location.pathname);
      return this.show(how === "push");
    }

    // Shows what the address names. ``fresh``: a new place, so from the top and with the focus on it.
    async show(fresh) {
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
          this.plan(this.failures ? AWAY_MS[0] : POLL_MS);
        }
      }
    }

    arrive(sameView) {
      window.scrollTo(0, 0);
      const heading = this.view.querySelector("h1, caption");
      if (!sameView) this.view.focus({ preventScroll: true });
      this.said.textContent = heading ? heading.textContent : "";
    }

    markNav() {
      const view = this.viewName();
      const before = this.app.dataset.sqView;
      const current = view === "model" ? "models" : view;
      this.app.dataset.sqView = view;
      for (const link of this.app.querySelectorAll("[data-sq-nav]")) {
        if (link.dataset.sqNav === current) {
          link.setAttribute("aria-current", "page");
          document.title = `${link.textContent} · StableQueue`;
        } else {
          link.removeAttribute("aria-current");
        }
      }
      return before === view;
    }

    onClick(event) {
      const copy = event.target.closest("[data-sq-copy]");
      if (copy) {
        this.copy(copy);
        return;
      }
      const link = event.target.closest("a[data-sq-link]");
      if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      if (link.hasAttribute("data-sq-back") && this.cameFromModels) window.history.back();
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
      if (wanted !== window.location.search) this.go(wanted, "replace");
    }

    // After going back, or following a link: the fields show the address again.
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

    // --- forms and copying ---------------------------------------------------------------------------------

    onSubmit(event) {
      const form = event.target;
      if (form.matches("[data-sq-filter]")) {
        event.preventDefault();
        clearTimeout(this.typing);
        this.filter(form);
      } else if (form.matches("[data-sq-post]")) {
        event.preventDefault();
        this.post(form);
      }
    }

    async post(form) {
      const result = form.querySelector("[data-sq-result]");
      const buttons = [...form.querySelectorAll("button[type=submit]")];
      const fields = new URLSearchParams(new FormData(form));
      for (const button of buttons) button.setAttribute("aria-disabled", "true");
      if (form.dataset.sqBusy) return;
      form.dataset.sqBusy = "1";
      try {
        const answer = await this.ask(`${this.app.dataset.sqBase}/views/${form.dataset.sqPost}`, { method: "POST", body: fields });
        await this.answered(form, result, answer);
      } catch (error) {
        result.textContent = "The hub did not answer, so this may not have been done. Try again.";
      } finally {
        delete form.dataset.sqBusy;
        for (const button of buttons) button.removeAttribute("aria-disabled");
      }
    }

    // The answer is a fragment (a notice, a new key, the line to join), or an error as the API writes it.
    async answered(form, result, answer) {
      const type = answer.headers.get("Content-Type") || "";
      if (type.startsWith("text/html")) {
        result.replaceChildren(parsed(await answer.text()));
        if (answer.ok && answer.headers.get("X-StableQueue-Go")) this.go(answer.headers.get("X-StableQueue-Go"), "push");
      } else {
        const { error } = await answer.json();
        result.textContent = `${error.message} ${error.remedy || ""}`.trim();
      }
      if (answer.ok) await this.poll();
    }

    async copy(button) {
      const code = button.closest(".sq-copyable").querySelector("code");
      const done = await copyText(code);
      button.textContent = done ? "Copied" : "Selected";
      this.said.textContent = done ? "Copied" : "Selected; press Ctrl+C";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
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

  function start() {
    const app = document.getElementById("sq-app");
    if (app && !app.dataset.sqStarted) {
      app.dataset.sqStarted = "1";
      new Page(app).start();
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
