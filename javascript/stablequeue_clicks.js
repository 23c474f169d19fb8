// Clicks that stay within a view: double clicks, menus, and copying.
"use strict";

(() => {
  window.stablequeueParts ??= {};
  const parts = window.stablequeueParts;

  class Clicks {
    constructor(page) {
      this.app = page.app;
      this.view = page.view;
      this.said = page.said;
    }

    listen(signal) {
      this.app.addEventListener("click", (event) => this.onSecondClick(event), { signal, capture: true });
      this.app.addEventListener("click", (event) => this.onCopy(event), { signal });
      this.app.addEventListener("keydown", (event) => { if (event.key === "Escape") this.closeMenus(event.target); }, { signal });
      document.addEventListener("pointerdown", (event) => this.closeMenus(event.target, true), { signal });
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

    // A row's menu lies over others: Escape closes it, and so does a press outside of it.
    closeMenus(target, others = false) {
      for (const menu of this.view.querySelectorAll("details.sq-menu[open]")) {
        const inside = menu.contains(target);
        if (inside === others) continue;
        menu.open = false;
        if (inside) menu.querySelector("summary").focus();
      }
    }

    async onCopy(event) {
      const button = event.target.closest("[data-sq-copy]");
      if (!button) return;
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
      } catch {
        // Refused: the way below.
      }
    }
    window.getSelection().selectAllChildren(element);
    try {
      return document.execCommand("copy");
    } catch {
      return false;
    }
  }

  parts.Clicks = Clicks;
})();
