// The form for a new job: checked while it is filled in, filled from a picture, with pickers for models.
"use strict";

(() => {
  window.stablequeueParts ??= {};
  const parts = window.stablequeueParts;

  const TYPING_MS = 120;
  const CHECK_MS = 500;

  class NewJob {
    constructor(page) {
      this.page = page;
      this.host = page.host;
      this.requests = page.requests;
    }

    listen(signal) {
      const { app } = this.page;
      app.addEventListener("click", (event) => this.onClick(event), { signal });
      app.addEventListener("input", (event) => this.onInput(event), { signal });
      app.addEventListener("toggle", (event) => this.onPickerOpen(event), { signal, capture: true });
      for (const kind of ["dragover", "drop"]) app.addEventListener(kind, (event) => this.onDrop(event), { signal });
      app.addEventListener("change", (event) => this.onFile(event), { signal });
    }

    onInput(event) {
      const picker = event.target.closest("[data-sq-picker-search]");
      const live = event.target.closest("form[data-sq-live]");
      if (picker) this.page.later(() => this.search(picker.closest("[data-sq-picker]")), TYPING_MS);
      else if (live) this.page.later(() => this.check(live), CHECK_MS);
    }

    async check(form) {
      const place = form.querySelector("[data-sq-check]");
      if (!place || !form.isConnected) return;
      try {
        const answer = await this.requests.post(form.dataset.sqLive, new URLSearchParams(new FormData(form)));
        if (parts.requests.isHtml(answer)) parts.morph.morphChildren(place, this.page.parsed(await answer.text()));
        else place.textContent = await parts.requests.errorText(answer);
      } catch {
        place.textContent = `${this.host.nobody}.`;
      }
    }

    // --- picking a model -----------------------------------------------------------------------------------

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
        const answer = await this.requests.ask(`${this.host.base}/views/pick?${query}`, {});
        if (answer.ok) list.replaceChildren(this.page.parsed(await answer.text()));
        else list.textContent = await parts.requests.errorText(answer);
      } catch {
        list.textContent = `${this.host.nobody}.`;
      }
    }

    onClick(event) {
      const insert = event.target.closest("[data-sq-insert]");
      if (insert) this.insert(insert);
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

    // --- a picture's text ----------------------------------------------------------------------------------

    onFile(event) {
      const file = event.target.closest("[data-sq-file]");
      if (file?.files.length) this.readPicture(file.closest("[data-sq-drop]"), file.files[0]);
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
        const answer = await this.requests.postFile(place.dataset.sqDrop, file);
        if (answer.ok) this.show(await answer.text());
        else result.textContent = await parts.requests.errorText(answer);
      } catch {
        result.textContent = `${this.host.nobody}. Try again.`;
      }
    }

    // In the place of the view that was there.
    show(html) {
      this.page.view.replaceChildren(this.page.parsed(html));
      this.host.toTop();
      this.page.view.focus({ preventScroll: true });
      this.page.said.textContent = "The form is filled in";
    }
  }

  parts.NewJob = NewJob;
})();
