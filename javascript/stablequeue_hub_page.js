// The hub's own page as the place of our views. The other place, with the same methods, is WebuiTab.
"use strict";

(() => {
  window.stablequeueParts ??= {};
  const parts = window.stablequeueParts;

  const AWAY_MS = [2000, 4000, 8000, 15000, 30000];

  // The hub's own page: the place stands in the address.
  class HubPage {
    constructor(app) {
      // The page may lie below a path of a shared address, and its server does not always know which.
      this.base = new URL(app.dataset.sqBase || ".", window.location.href).pathname.replace(/\/$/, "");
      this.headers = {};
      this.takesPieces = true;
      this.awayMs = AWAY_MS;
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

    shown() { /* Only a WebUI's page has other scripts that want to know. */ }

    refused(answer) {
      if (answer.status === 401) window.location.assign(`${this.base}/login`);
    }

    awayText(since) {
      return `Hub not reachable since ${since}. What you see is from then; it is retried automatically.`;
    }
  }

  parts.HubPage = HubPage;
})();
