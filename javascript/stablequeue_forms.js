// Forms that do something: sent without leaving the page, and what became of it is said in the form.
"use strict";

(() => {
  window.stablequeueParts ??= {};
  const parts = window.stablequeueParts;

  class Forms {
    constructor(page) {
      this.page = page;
      this.marked = null;
    }

    listen(signal) {
      this.page.app.addEventListener("submit", (event) => this.onSubmit(event), { signal });
    }

    onSubmit(event) {
      const form = event.target;
      if (form.matches("[data-sq-filter]") || !form.matches("[data-sq-post]")) return;
      event.preventDefault();
      this.post(form, event.submitter);
    }

    // ``pressed``: of several buttons the one that says what to do.
    async post(form, pressed) {
      const result = form.querySelector("[data-sq-result]");
      const buttons = [...form.querySelectorAll("button[type=submit]")];
      const fields = new URLSearchParams(new FormData(form));
      if (pressed?.name) fields.set(pressed.name, pressed.value);
      if (form.hasAttribute("data-sq-once")) this.mark(form, fields);
      for (const button of buttons) button.setAttribute("aria-disabled", "true");
      if (form.dataset.sqBusy) return;
      form.dataset.sqBusy = "1";
      try {
        await this.answered(form, result, await this.page.requests.post(form.dataset.sqPost, fields));
      } catch {
        result.textContent = `${this.page.host.nobody}, so this may not have been done. Try again.`;
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
      const html = parts.requests.isHtml(answer);
      if (html && answer.ok && form.hasAttribute("data-sq-into-view")) {
        this.page.newJob.show(await answer.text());
        return;
      }
      if (html) {
        result.replaceChildren(this.page.parsed(await answer.text()));
        if (answer.ok) this.done(answer.headers.get("X-StableQueue-Go"));
      } else {
        result.textContent = await parts.requests.errorText(answer);
      }
      if (answer.ok) {
        this.page.chosen.clear(form);
        await this.page.poll();
      }
    }

    // ``goOn``: the place where it goes on, if it does elsewhere.
    done(goOn) {
      this.marked = null;
      if (goOn) this.page.go(goOn, "push");
    }
  }

  parts.Forms = Forms;
})();
