// The filters of a view: what is chosen in them is part of the place.
"use strict";

(() => {
  window.stablequeueParts ??= {};
  const parts = window.stablequeueParts;

  const TYPING_MS = 120;

  class Filters {
    constructor(page) {
      this.page = page;
    }

    listen(signal) {
      const { app } = this.page;
      app.addEventListener("submit", (event) => this.onSubmit(event), { signal });
      app.addEventListener("input", (event) => this.onInput(event, TYPING_MS), { signal });
      app.addEventListener("change", (event) => this.onInput(event, 0), { signal });
    }

    onSubmit(event) {
      if (!event.target.matches("[data-sq-filter]")) return;
      event.preventDefault();
      this.page.cancelLater();
      this.filter(event.target);
    }

    onInput(event, delay) {
      const form = event.target.closest("form[data-sq-filter]");
      if (form) this.page.later(() => this.filter(form), delay);
    }

    filter(form) {
      const query = new URLSearchParams();
      for (const [name, value] of new FormData(form)) if (value) query.set(name, value);
      const wanted = `?${query}`;
      if (wanted !== this.page.host.query) this.page.go(wanted, "replace");
    }

    // After going back, or following a link: the fields show the place again.
    sync() {
      const form = this.page.view.querySelector("form[data-sq-filter]");
      if (!form) return;
      const query = this.page.query();
      for (const field of form.elements) {
        if (!field.name || field === document.activeElement || field.type === "hidden") continue;
        const wanted = query.get(field.name) || "";
        if (field.value !== wanted) field.value = wanted;
      }
    }
  }

  parts.Filters = Filters;
})();
