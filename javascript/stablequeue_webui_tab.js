// A WebUI's tab as the place of our views. The other place, with the same methods, is HubPage.
"use strict";

(() => {
  window.stablequeueParts ??= {};
  const parts = window.stablequeueParts;

  // A WebUI that comes up again is asked seldom: Classic's start with --api dies of any request in the second
  // before its own routes are there (starlette then refuses the middleware that it still has to add).
  const AWAY_MS = [4000, 15000, 60000, 120000, 300000];

  // A tab among others of a WebUI's page: the address is not ours, the place is kept here. One per page, so
  // that the place outlives a tab that Gradio draws anew.
  class WebuiTab {
    // ``shownCallbacks``: whom to tell each time that something in the view was replaced.
    constructor(shownCallbacks) {
      this.places = [""];
      this.shownCallbacks = shownCallbacks;
      this.token = null;
      this.awayMs = AWAY_MS;
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

    titled() { /* The page's title is the WebUI's. */ }

    placePictures() { /* Our routes want the token, which an <img> cannot send: stablequeue_pictures.js fetches what is shown. */ }

    shown(root) {
      for (const callback of this.shownCallbacks) callback(root);
    }

    // Another process answers at this address, which knows neither our token nor, perhaps, StableQueue.
    refused(answer) {
      if (answer.status === 404 && !parts.requests.isOurs(answer)) this.page.away.lost();
    }

    awayText(since) {
      return `This WebUI has not answered since ${since}. What you see is from then; it is retried automatically.`;
    }

    // Brings our tab to the front.
    bringUp() {
      if (this.app.getClientRects().length > 0) return;
      const panel = this.app.closest("[id^=tab_]");
      const labelled = [...document.querySelectorAll("#tabs button")].find((one) => one.textContent.trim() === "StableQueue");
      const button = (panel && document.getElementById(`${panel.id}-button`)) || labelled;
      if (button) button.click();
    }
  }

  parts.WebuiTab = WebuiTab;
})();
