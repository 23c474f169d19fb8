// The Queue buttons beside Generate, what is chosen beside them, and the line that says what became of a press.
// What people see is drawn here; a press goes through a hidden button of the page, whose event brings what the
// page's components hold (stablequeue_client/webui/submit/button.py). HTML comes from our view alone.
"use strict";

(() => {
  const TABS = ["txt2img", "img2img"];
  const SOON_MS = [80, 150, 300, 500, 1000];
  const LATER_MS = 4000;
  const FOLLOWED = 2000; // looks at a job that does not end: two hours, and again when the page comes back
  const SERVERS_MS = 30000;
  const RESIZED_MS = 150;
  const KEPT = "stablequeue_queue_";
  const RULES = [["increment", "seed +1 each"], ["random", "random seeds"], ["same", "same seed"]];

  function made(name, attributes = {}, text) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function remembered(name, otherwise) {
    try {
      return localStorage.getItem(KEPT + name) ?? otherwise;
    } catch {
      return otherwise;
    }
  }

  function remember(name, value) {
    try {
      localStorage.setItem(KEPT + name, value);
    } catch {
      // Then it is chosen anew next time.
    }
  }

  // Of this window: its line goes on with the job when the page is loaded anew.
  function lastPress(tab) {
    try {
      return sessionStorage.getItem(`${KEPT}press_${tab}`) ?? "";
    } catch {
      return "";
    }
  }

  function notePress(tab, press) {
    try {
      sessionStorage.setItem(`${KEPT}press_${tab}`, press);
    } catch {
      // Then a page that is loaded anew says nothing of it.
    }
  }

  async function asked(path, body) {
    const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
    const answer = await window.stablequeue.ask(path, options);
    const value = await answer.json();
    if (!answer.ok) throw new Error(value.error ? `${value.error.message} ${value.error.remedy}` : "This WebUI did not answer.");
    return value;
  }

  class Queue {
    constructor(tab) {
      this.tab = tab;
      this.press = lastPress(tab);
      this.timer = null;
      this.turn = 0;
      this.pressing = false;
      this.servers = [];
    }

    // --- what people see -------------------------------------------------------------------------------------

    draw() {
      this.button = made("button", { type: "button", id: `sq_queue_${this.tab}`, class: "sq-queue-button" }, "Queue");
      this.button.addEventListener("click", () => this.queue());
      this.target = made("select", { "aria-label": "Which server makes it" });
      this.target.addEventListener("change", () => this.chose());
      this.count = made("input", { type: "number", min: "1", max: "100", value: "1", "aria-label": "How many jobs" });
      this.count.addEventListener("input", () => this.counted());
      this.rule = made("select", { "aria-label": "Their seeds" });
      for (const [value, label] of RULES) this.rule.append(made("option", { value }, label));
      this.rule.value = remembered("rule", "increment");
      this.rule.addEventListener("change", () => remember("rule", this.rule.value));
      this.choices = made("div", { class: "sq-queue-choices" });
      this.jobs = made("span", { "aria-hidden": "true" });
      this.choices.append(this.target, this.count, this.jobs, this.rule);
      this.line = made("div", { class: "sq-queue-line", role: "status" });
      this.line.addEventListener("click", (event) => this.onLine(event));
      this.box = made("div", { class: "sq-press sq-gate", id: `sq_queue_box_${this.tab}` });
      this.box.append(this.choices, this.line);
      this.counted();
      this.targets();
    }

    counted() {
      const several = Number(this.count.value) > 1;
      this.jobs.textContent = several ? "jobs" : "job";
      this.rule.hidden = !several;
    }

    chose() {
      remember("target", this.target.value);
      remember("alias", this.target.value ? this.target.selectedOptions[0].dataset.sqAlias : "");
      all((one) => one.targets());
      if (window.stablequeuePromptLine) for (const tab of TABS) window.stablequeuePromptLine.changed(tab);
    }

    // While the hub does not say which servers there are, the one that was chosen stays chosen.
    targets() {
      const chosen = remembered("target", "");
      let known = this.servers;
      if (!known.length && chosen) known = [{ id: chosen, alias: remembered("alias", chosen), connected: true }];
      const options = [made("option", { value: "" }, "Any server")];
      for (const { id, alias, connected } of known) {
        options.push(made("option", { value: id, "data-sq-alias": alias }, connected ? alias : `${alias} (not connected)`));
      }
      this.target.replaceChildren(...options);
      this.target.value = known.some((one) => one.id === chosen) ? chosen : "";
      // A choice of one is none.
      this.target.hidden = known.length < 2 && !this.target.value;
    }

    // Below the box of Generate, or the button within it, wherever the host's layout puts that.
    place(where) {
      const generate = gradioApp().querySelector(`#${this.tab}_generate_box`);
      if (!generate) return;
      if (!this.button) this.draw();
      document.body.dataset.sqQueue = where;
      if (where === "hidden") {
        this.button.remove();
        this.box.remove();
        return;
      }
      if (where === "beside") generate.append(this.button);
      else this.box.prepend(this.button);
      if (this.box.previousElementSibling !== generate) generate.after(this.box);
    }

    // --- a press -----------------------------------------------------------------------------------------------

    async queue() {
      if (this.pressing) return;
      this.pressing = true;
      this.button.disabled = true;
      try {
        const count = Math.min(100, Math.max(1, Math.round(Number(this.count.value)) || 1));
        this.count.value = count;
        this.counted();
        const choices = { tab: this.tab, target: this.target.value, count, seed_rule: this.rule.value };
        this.press = (await asked("queue/press", choices)).press;
        notePress(this.tab, this.press);
        const hidden = gradioApp().querySelector(`#sq_queue_press_${this.tab}`);
        if (!hidden) throw new Error("Queue is not part of this page; reload it.");
        this.say("Queueing…");
        hidden.click();
        this.look(0);
      } catch (error) {
        // What a browser says when nobody answers ("Failed to fetch") helps nobody.
        this.say(error instanceof TypeError || error.name === "AbortError" ? "Not queued: this WebUI does not answer. Press again once it does." : String(error.message));
      } finally {
        this.pressing = false;
        this.button.disabled = false;
      }
    }

    say(text) {
      this.line.replaceChildren(made("p", {}, text));
      delete this.line.dataset.sqShown;
    }

    look(time, delay = SOON_MS[Math.min(time, SOON_MS.length - 1)]) {
      clearTimeout(this.timer);
      const turn = ++this.turn;
      this.timer = setTimeout(async () => {
        try {
          const said = await asked(`queue/line?tab=${this.tab}&press=${this.press}`);
          if (turn === this.turn) this.show(said, time);
        } catch {
          if (turn === this.turn && !document.hidden) this.look(time + 1, LATER_MS);
        }
      }, delay);
    }

    show(said, time) {
      if (this.line.dataset.sqShown !== said.html) {
        this.line.dataset.sqShown = said.html;
        const template = document.createElement("template");
        template.innerHTML = said.html;
        this.line.replaceChildren(template.content);
      }
      if (document.hidden) return;
      if (said.busy) this.look(time + 1);
      else if (said.kept || (said.later && time < FOLLOWED)) this.look(time + 1, LATER_MS);
    }

    async onLine(event) {
      const at = event.target.closest("[data-sq-queue-open], [data-sq-queue-again], [data-sq-queue-drop], [data-sq-queue-hub]");
      if (!at) return;
      event.preventDefault();
      const { sqQueueOpen: place, sqQueueAgain: again, sqQueueDrop: drop } = at.dataset;
      try {
        if (place) await window.stablequeue.open(place);
        else if (again) await asked("queue/again", { key: again });
        else if (drop) await asked("queue/throw-away", { key: drop });
        else {
          await window.stablequeue.ask("views/setup/use-here", { method: "POST", body: new URLSearchParams() });
          await window.stablequeue.open("?view=setup");
        }
      } catch (error) {
        this.say(String(error.message));
      }
      this.look(0);
    }
  }

  // --- the shortcut ------------------------------------------------------------------------------------------------

  let shortcut = null;
  let placement = null;

  // "Ctrl+Shift+Q" as what a key event must be.
  function parsed(text) {
    const words = text.split("+").map((word) => word.trim().toLowerCase()).filter(Boolean);
    if (!words.length) return null;
    const held = (...names) => names.some((name) => words.slice(0, -1).includes(name));
    return { key: words.at(-1), ctrlKey: held("ctrl", "control"), altKey: held("alt"), shiftKey: held("shift"), metaKey: held("meta", "cmd") };
  }

  function isShortcut(event) {
    if (!shortcut || !["ctrlKey", "altKey", "shiftKey", "metaKey"].every((name) => event[name] === shortcut[name])) return false;
    // With Alt held some keyboards write another letter, so the place of the key counts too.
    return event.key.toLowerCase() === shortcut.key || event.code.toLowerCase() === `key${shortcut.key}`;
  }

  // Before the host's own handler, for which the same keys may mean Generate, Skip or Interrupt.
  function onKey(event) {
    if (!isShortcut(event) || document.querySelector("dialog[open]")) return;
    const tab = TABS.find((name) => gradioApp().querySelector(`#tab_${name}`)?.offsetParent !== null);
    if (!tab || !queues[tab].button) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!event.repeat) queues[tab].queue();
  }

  // --- starting ------------------------------------------------------------------------------------------------------

  const queues = Object.fromEntries(TABS.map((tab) => [tab, new Queue(tab)]));
  const all = (call) => Object.values(queues).forEach(call);

  async function choose() {
    try {
      const { placement: where, shortcut: keys, servers } = await asked("queue/choices");
      placement = where;
      shortcut = parsed(keys);
      all((queue) => {
        queue.servers = servers;
        queue.place(placement);
        if (queue.button) queue.targets();
      });
    } catch {
      // Without an answer the page stays as it is.
    }
  }

  // What the page's own event calls: the number that the press was announced under.
  window.stablequeueQueue = {
    key: (tab) => queues[tab].press,
    // For the line under Generate, which says where it would run.
    target: () => remembered("target", ""),
  };

  // Hosts move the box of Generate elsewhere when the window becomes narrow.
  let resized = null;
  window.addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => { if (placement) all((queue) => queue.place(placement)); }, RESIZED_MS);
  });
  window.addEventListener("keydown", onKey, true);
  onUiLoaded(async () => {
    await choose();
    all((queue) => queue.look(0));
  });
  onOptionsChanged(choose);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { choose(); all((queue) => queue.look(0)); } });
  setInterval(() => { if (!document.hidden) choose(); }, SERVERS_MS);
})();
