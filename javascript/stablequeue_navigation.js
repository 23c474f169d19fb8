// The ways from view to view: the links at the top, and those within views.
"use strict";

(() => {
  window.stablequeueParts ??= {};
  const parts = window.stablequeueParts;

  const PHONE = "(max-width: 700px)"; // as in style.css

  class Navigation {
    constructor(page) {
      this.page = page;
      this.app = page.app;
      this.host = page.host;
    }

    listen(signal) {
      this.app.addEventListener("click", (event) => this.onClick(event), { signal });
      document.addEventListener("keydown", (event) => this.onKey(event), { signal });
    }

    // On a phone the queue is what one looks for; a place that was asked for stays.
    landsOnQueue() {
      const link = this.app.querySelector("[data-sq-nav=queue]");
      return link && this.host.isDoor() && window.matchMedia(PHONE).matches;
    }

    // The ways that lead somewhere now; without a word about them all stay as they are.
    showWays(ways) {
      if (!ways) return;
      const shown = ways.split(",");
      for (const link of this.app.querySelectorAll("[data-sq-nav]")) {
        link.parentElement.hidden = !shown.includes(link.dataset.sqNav);
      }
    }

    // Whether it is the view that was marked before.
    mark(view) {
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
      const link = event.target.closest("a[data-sq-link]") || this.linkOfRow(event.target);
      if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      if (link.hasAttribute("data-sq-back") && this.cameFromModels) this.host.back();
      else this.follow(link);
    }

    // A row leads where its name leads; what is pressed in it, or chosen as text, is meant itself.
    linkOfRow(target) {
      const row = target.closest("tr[data-sq-opens]");
      if (!row || target.closest("a, button, input, select, label, summary")) return null;
      return window.getSelection().isCollapsed ? row.querySelector("a[data-sq-link]") : null;
    }

    // "/" looks for something, where nobody writes.
    onKey(event) {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
      const field = this.app.querySelector("input[type=search]");
      if (!field?.offsetParent) return;
      event.preventDefault();
      field.focus();
      field.select();
    }

    follow(link) {
      const before = this.app.dataset.sqView;
      this.cameFromModels = before === "models";
      this.page.go(link.getAttribute("href"), "push");
    }
  }

  parts.Navigation = Navigation;
})();
