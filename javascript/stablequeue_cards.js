// Marks on the cards of the WebUI's own browser (checkpoints, LoRAs, embeddings): a problem, or on how many
// servers the model is. Only cards that are on screen get one; names are only ever compared and written as
// text. What the marks are comes from our own route (stablequeue_client/webui/prompt_line/card_marks.py).
"use strict";

(() => {
  const KINDS = { checkpoints: "checkpoint", lora: "lora", textual_inversion: "embedding" };
  const CARDS = /^(?:txt2img|img2img)_(checkpoints|lora|textual_inversion)_cards$/;
  const FRESH_MS = 20000;
  const MORE_MS = [1500, 3000, 6000, 12000];
  const FAILED_MS = 60000;

  class Marks {
    constructor(kind) {
      this.kind = kind;
      this.said = null;
      this.tag = null;
      this.due = 0;
      this.asking = false;
      this.outdated = false;
      this.times = 0;
      this.shown = new Set();
    }

    // A card came on screen, or left it.
    seen(card, visible) {
      if (!visible) {
        this.shown.delete(card);
        return;
      }
      this.shown.add(card);
      if (this.said) this.draw(card);
      this.ask();
    }

    async ask() {
      if (this.asking || Date.now() < this.due) return;
      this.asking = true;
      try {
        const headers = this.tag ? { "If-None-Match": this.tag } : {};
        const answer = await window.stablequeue.ask(`marks?kind=${this.kind}`, { headers });
        this.due = Date.now() + FRESH_MS;
        if (answer.status === 304) this.askForMore();
        else if (answer.ok) this.take(await answer.json(), answer.headers.get("ETag"));
        else throw new Error(`answered ${answer.status}`);
      } catch {
        this.due = Date.now() + FAILED_MS;
      } finally {
        this.asking = false;
        if (this.outdated) this.forget(); // asked before the settings changed
      }
    }

    take(said, tag) {
      this.said = said;
      this.tag = tag;
      for (const card of this.shown) this.draw(card);
      this.askForMore();
    }

    // The hub has not said all yet: look again soon, as long as cards are on screen.
    askForMore() {
      if (!this.said?.more || this.times >= MORE_MS.length) {
        this.times = 0;
        return;
      }
      this.due = 0;
      setTimeout(() => { if (this.shown.size) this.ask(); }, MORE_MS[this.times]);
      this.times += 1;
    }

    forget() {
      this.outdated = this.asking;
      this.tag = null;
      this.due = 0;
      this.times = 0;
      if (this.shown.size) this.ask();
    }

    find(card) {
      // A name such as "constructor" is no card.
      const files = Object.hasOwn(this.said.cards || {}, card.dataset.name) ? this.said.cards[card.dataset.name] : [];
      if (files.length === 1 && files[0][0] === "") return files[0];
      const button = card.querySelector(".copy-path-button");
      const path = button ? (button.dataset.clipboardText || "").replaceAll("\\", "/") : "";
      return files.find(([end]) => path === end || path.endsWith(`/${end}`)) || null;
    }

    draw(card) {
      const found = this.find(card);
      const before = card.querySelector(":scope > .sq-card-mark");
      if (!found) {
        if (before) before.remove();
        return;
      }
      const [sign, word, meaning, tone] = this.said.looks[found[1]];
      const mark = before || made(card);
      mark.className = `sq-card-mark sq-card-${tone}`;
      mark.title = meaning;
      mark.dataset.sqPlace = found[2];
      mark.replaceChildren(span("sq-card-sign", sign), span("", word));
      mark.firstChild.setAttribute("aria-hidden", "true");
    }
  }

  function span(className, text) {
    const element = document.createElement("span");
    element.className = className;
    element.textContent = text;
    return element;
  }

  // A click opens the details in our tab; the card itself must not notice.
  function made(card) {
    const mark = document.createElement("button");
    mark.type = "button";
    mark.addEventListener("click", (event) => {
      event.stopPropagation();
      event.preventDefault();
      window.stablequeue.open(mark.dataset.sqPlace);
    });
    card.append(mark);
    return mark;
  }

  // --- which cards are on screen -----------------------------------------------------------------------------

  const marks = Object.fromEntries(Object.values(KINDS).map((kind) => [kind, new Marks(kind)]));
  const watched = new WeakSet();
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const kind = kindOf(entry.target);
      if (kind) marks[kind].seen(entry.target, entry.isIntersecting && entry.target.isConnected);
    }
  }, { rootMargin: "200px" });

  function kindOf(card) {
    const list = card.closest(".extra-network-cards");
    const found = list && CARDS.exec(list.id);
    return found ? KINDS[found[1]] : null;
  }

  // Cards come with the page, with "Refresh", and one by one when their metadata was edited.
  function watch() {
    for (const list of gradioApp().querySelectorAll(".extra-network-cards")) {
      if (!CARDS.test(list.id)) continue;
      for (const card of list.getElementsByClassName("card")) {
        if (watched.has(card)) continue;
        watched.add(card);
        observer.observe(card);
      }
    }
  }

  const whenIdle = window.requestIdleCallback || ((call) => setTimeout(call, 50));
  onUiLoaded(() => whenIdle(watch));
  onAfterUiUpdate(() => whenIdle(watch));
  onOptionsChanged(() => { for (const one of Object.values(marks)) one.forget(); });
})();
