// Starts StableQueue's page where its frame is, on the hub's page or in a WebUI's tab, and brings it to our other
// scripts in a WebUI. DOM only, no dependencies.
//
// Each file here gives its part to window.stablequeueParts, and uses those of others only when something happens,
// never while it is read: so they may be read in any order.
"use strict";

(() => {
  window.stablequeueParts ??= {};
  const parts = window.stablequeueParts;

  const shownCallbacks = [];
  let page = null;
  let tab = null;
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
      parts.times.localise(app);
      return;
    }
    if (page) page.stop();
    if (app.dataset.sqToken) startTab(app);
    else {
      page = new parts.Page(app, new parts.HubPage(app));
      page.start();
    }
  }

  function startTab(app) {
    tab ??= new parts.WebuiTab(shownCallbacks);
    tab.adopt(app);
    page = new parts.Page(app, tab);
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
      if (page.ended.signal.aborted) throw new Error("This WebUI was restarted; reload the page.");
      return page.requests.ask(`${tab.base}/${path}`, options);
    },
    // Calls back with our view each time that something in it was replaced.
    onShown(callback) {
      shownCallbacks.push(callback);
      if (page) callback(page.view);
    },
  };

  function begin() {
    start();
    // A WebUI adds its tabs to the page some time after this script has run, and may draw them again.
    new MutationObserver(start).observe(document.documentElement, { childList: true, subtree: true });
  }

  // Once every file was read.
  if (document.readyState === "complete") begin();
  else document.addEventListener("DOMContentLoaded", begin);
})();
