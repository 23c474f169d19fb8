// Choosing several rows of a list.
"use strict";

(() => {
  window.stablequeueParts ??= {};
  const parts = window.stablequeueParts;

  class Chosen {
    constructor(page) {
      this.app = page.app;
      this.view = page.view;
    }

    listen(signal) {
      this.app.addEventListener("change", (event) => this.onPick(event), { signal });
    }

    onPick(event) {
      const all = event.target.closest("[data-sq-pick-all]");
      if (!all && !event.target.closest("[data-sq-pick]")) return;
      if (all) for (const one of this.view.querySelectorAll("[data-sq-pick]")) one.checked = all.checked;
      this.show();
    }

    show() {
      const said = this.view.querySelector("[data-sq-picked]");
      const number = this.view.querySelectorAll("[data-sq-pick]:checked").length;
      if (said) said.textContent = number === 1 ? "1 job chosen" : `${number} jobs chosen`;
    }

    // What was done to the chosen ones is done; they are chosen no longer.
    clear(form) {
      if (!form.querySelector("[data-sq-picked]")) return;
      for (const one of this.view.querySelectorAll("[data-sq-pick], [data-sq-pick-all]")) one.checked = false;
      for (const open of form.querySelectorAll("details[open]")) open.open = false;
    }
  }

  parts.Chosen = Chosen;
})();
