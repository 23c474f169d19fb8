// The line under the Generate buttons of txt2img and img2img: is everything here that they name? And, when
// the person wants it, a question before Generate. What the page's components hold comes from Gradio itself
// (stablequeue_client/webui/prompt_line/page.py); the answer from our own route. HTML comes from our view alone,
// text in the question is only ever written as text.
"use strict";

(() => {
  const CHANGE_MS = 120;
  const TYPING_MS = 100;
  const SAME_KEY_MS = 300;
  const MORE_MS = [400, 800, 1500, 3000, 5000];
  const LOOK_AGAIN_MS = 15000;
  const HOLD_MS = 2000;
  const HOLD_LOOK_MS = 20;
  const TABS = ["txt2img", "img2img"];
  const TYPED = { prompt: "prompt", neg_prompt: "negative_prompt" };
  const TYPED_IN_TXT2IMG = { hires_prompt: "hr_prompt", hires_neg_prompt: "hr_negative_prompt" };

  const NOTHING = { html: "", tone: "", ask: [], more: false };

  // Element id -> what Python calls its text.
  function typedFields(tab) {
    const mine = Object.entries(TYPED).map(([end, name]) => [`${tab}_${end}`, name]);
    return [...mine, ...(tab === "txt2img" ? Object.entries(TYPED_IN_TXT2IMG) : [])];
  }

  const pause = (ms) => (ms > 0 ? new Promise((done) => setTimeout(done, ms)) : undefined);

  class PromptLine {
    constructor(tab) {
      this.tab = tab;
      this.turn = 0;
      this.values = null;
      this.asked = "";
      this.answer = null;
      this.asks = false;
      this.allowed = "";
      this.held = false;
      this.timer = null;
      this.again = null;
      this.underWay = 0;
      this.typedAt = -Infinity;
      this.line = null;
    }

    // Something that names a model changed, or Gradio tells late of a key that typed() knows of: what the line
    // says counts until told() finds other values.
    changed(delay = CHANGE_MS) {
      clearTimeout(this.timer);
      const ofKey = delay > 0 && performance.now() - this.typedAt < SAME_KEY_MS;
      this.timer = setTimeout(() => this.collect(), ofKey ? SAME_KEY_MS : delay);
    }

    // Names mean something else now: the same values are asked about again.
    outdated(delay) {
      this.forget();
      this.changed(delay);
    }

    forget() {
      clearTimeout(this.again);
      this.turn += 1;
      this.asked = "";
      this.answer = null;
    }

    // A key in a prompt. Gradio 4 tells of it a fifth of a second later and keeps the page busy meanwhile, so
    // the text is taken from the page and asked about at once; what Gradio said of all else still counts.
    typed() {
      this.typedAt = performance.now();
      this.forget();
      if (this.values === null) return;
      this.values = { ...this.values, ...this.texts() };
      if (this.underWay === 0) this.check(0);
    }

    texts() {
      const texts = {};
      for (const [id, name] of typedFields(this.tab)) {
        const area = gradioApp().querySelector(`#${id} textarea`);
        if (area && name in this.values) texts[name] = area.value;
      }
      return texts;
    }

    // The hidden button's event brings the values of all components to told().
    collect() {
      const button = gradioApp().querySelector(`#sq_gate_${this.tab}`);
      if (button) button.click();
    }

    told(names, values) {
      this.values = {};
      names.forEach((name, place) => { this.values[name] = values[place]; });
      this.values.queue_target = window.stablequeueQueue ? window.stablequeueQueue.target() : "";
      if (JSON.stringify(this.values) === this.asked) return;
      this.forget();
      this.check(0);
    }

    // Asks, and asks again for as long as who else has a model is still being found out.
    async check(time) {
      const turn = this.turn;
      const said = await this.answered();
      if (turn !== this.turn) {
        // Of the keys that came meanwhile the last one is asked about.
        if (this.asked === "") this.check(0);
        return;
      }
      this.answer = said;
      if ("asks" in said) this.asks = said.asks;
      await pause(this.typedAt + TYPING_MS - performance.now());
      if (turn !== this.turn) return;
      this.show(said);
      if (said.more && time < MORE_MS.length) this.again = setTimeout(() => this.check(time + 1), MORE_MS[time]);
    }

    // Without an answer nothing is said, and nothing is asked before Generate.
    async answered() {
      const body = JSON.stringify(this.values);
      this.asked = body;
      this.underWay += 1;
      try {
        const headers = { "Content-Type": "application/json" };
        const answer = await window.stablequeue.ask("check", { method: "POST", body, headers });
        if (answer.ok) return await answer.json();
      } catch {
        // As below.
      } finally {
        this.underWay -= 1;
      }
      if (this.asked === body) this.asked = "";
      return NOTHING;
    }

    show(said) {
      const line = this.place();
      if (!line) return;
      line.dataset.sqTone = said.tone;
      if (line.dataset.sqShown === said.html) return;
      line.dataset.sqShown = said.html;
      const open = line.querySelector("details[open]") !== null;
      const template = document.createElement("template");
      template.innerHTML = said.html;
      line.replaceChildren(template.content);
      const more = line.querySelector("details");
      if (more) more.open = open;
    }

    // Below the row with prompts and Generate, else below the box of that button, wherever the host's layout puts
    // it. Its height is there from the start, so that nothing moves when it says something.
    place() {
      if (this.line?.isConnected) return this.line;
      const box = gradioApp().querySelector(`#${this.tab}_generate_box`);
      if (!box) return null;
      const row = box.closest(`#${this.tab}_toprow`);
      this.line = document.createElement("div");
      this.line.id = `sq_gate_line_${this.tab}`;
      this.line.className = row ? "sq-gate" : "sq-gate sq-gate-narrow";
      this.line.setAttribute("role", "status");
      this.line.addEventListener("click", (event) => this.onClick(event));
      (row || box).after(this.line);
      return this.line;
    }

    onClick(event) {
      const button = event.target.closest("[data-sq-gate-from]");
      if (button) this.replace(button.dataset.sqGateFrom, button.dataset.sqGateTo);
    }

    // Puts the name that is meant in the place of the one that is written, in every prompt of this tab.
    replace(written, meant) {
      const ids = [`${this.tab}_prompt`, `${this.tab}_neg_prompt`];
      if (this.tab === "txt2img") ids.push("hires_prompt", "hires_neg_prompt");
      for (const id of ids) {
        const area = gradioApp().querySelector(`#${id} textarea`);
        if (!area) continue;
        let text = area.value;
        for (const end of [":", ">"]) text = text.split(`<lora:${written}${end}`).join(`<lora:${meant}${end}`);
        if (text === area.value) continue;
        area.value = text;
        updateInput(area);
      }
    }

    // Whether Generate has to wait for the person's answer. Never for anything that the line does not say.
    mustAsk() {
      const asks = this.answer ? this.answer.ask : [];
      return asks.length > 0 && asks.join("\n") !== this.allowed;
    }

    // Whether Generate was pressed before it is known what is to be asked. Of NOTHING nothing will be.
    mustWait() {
      return this.asks && this.answer === null;
    }

    // Until there is an answer. What takes longer than HOLD_MS is not asked about.
    async known() {
      const end = performance.now() + HOLD_MS;
      while (this.answer === null && performance.now() < end) await pause(HOLD_LOOK_MS);
      if (this.answer === null) this.answer = NOTHING;
    }

    allow() {
      this.allowed = this.answer ? this.answer.ask.join("\n") : "";
    }
  }

  // --- the question ----------------------------------------------------------------------------------------

  function made(name, className, text) {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function question(promptLine, generate) {
    const dialog = made("dialog", "sq-gate-dialog");
    const heading = made("h2", "", "Generate anyway?");
    heading.id = "sq_gate_heading";
    dialog.setAttribute("aria-labelledby", heading.id);
    const list = made("ul");
    for (const sentence of promptLine.answer.ask) list.append(made("li", "", sentence));
    const buttons = made("div", "sq-gate-buttons");
    const cancel = made("button", "sq-gate-button", "Cancel");
    const go = made("button", "sq-gate-button sq-gate-button-primary", "Generate anyway");
    for (const button of [cancel, go]) button.type = "button";
    cancel.addEventListener("click", () => dialog.close());
    go.addEventListener("click", () => {
      promptLine.allow();
      dialog.close();
      generate.click();
    });
    // The host's own keys (Esc interrupts, Ctrl+Enter generates) are not meant while this is open.
    dialog.addEventListener("keydown", (event) => event.stopPropagation());
    dialog.addEventListener("close", () => dialog.remove());
    buttons.append(cancel, go);
    dialog.append(heading, list, buttons);
    document.body.append(dialog);
    dialog.showModal();
    cancel.focus();
  }

  // Presses Generate, or asks, as soon as it is known which.
  async function hold(promptLine, generate) {
    if (promptLine.held) return;
    promptLine.held = true;
    await promptLine.known();
    promptLine.held = false;
    if (promptLine.mustAsk()) question(promptLine, generate);
    else generate.click();
  }

  // Ctrl+Enter, "Generate forever" and the button itself all come as a click on the button; Shift+Enter in a
  // prompt does not, Gradio submits that by itself.
  function onGenerate(event) {
    const tab = event.target instanceof Element && generatingTab(event);
    if (!tab) return;
    const promptLine = promptLines[tab];
    const generate = gradioApp().querySelector(`#${tab}_generate`);
    const open = document.querySelector(".sq-gate-dialog[open]");
    const asks = promptLine.mustAsk();
    if (!open && !asks && !promptLine.mustWait()) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (open) return;
    if (asks) question(promptLine, generate);
    else hold(promptLine, generate);
  }

  function generatingTab(event) {
    if (event.type === "keydown" && !(event.key === "Enter" && event.shiftKey)) return null;
    const of = event.type === "keydown" ? ["prompt", "neg_prompt"] : ["generate"];
    return TABS.find((tab) => of.some((what) => event.target.closest(`#${tab}_${what}`)));
  }

  // --- starting --------------------------------------------------------------------------------------------

  const promptLines = Object.fromEntries(TABS.map((tab) => [tab, new PromptLine(tab)]));
  const all = (delay) => { for (const tab of TABS) promptLines[tab].outdated(delay); };

  // What the page's own events call.
  window.stablequeuePromptLine = {
    changed: (tab) => promptLines[tab].changed(),
    told: (tab, names, values) => promptLines[tab].told(names, values),
  };

  document.addEventListener("input", (event) => {
    const within = (id) => event.target instanceof Element && event.target.closest(`#${id}`);
    for (const tab of TABS) if (typedFields(tab).some(([id]) => within(id))) promptLines[tab].typed();
  }, true);
  document.addEventListener("click", onGenerate, true);
  document.addEventListener("keydown", onGenerate, true);
  onUiLoaded(() => {
    for (const promptLine of Object.values(promptLines)) promptLine.place();
    all(0);
  });
  onOptionsChanged(() => all(CHANGE_MS));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) all(0); });
  // Files come and go, here and on other servers: while the line says something, look whether it is still so.
  setInterval(() => {
    for (const promptLine of Object.values(promptLines)) {
      if (!document.hidden && promptLine.answer && promptLine.answer.html && promptLine.line?.offsetParent) promptLine.check(MORE_MS.length - 2);
    }
  }, LOOK_AGAIN_MS);
})();
