// Pictures of jobs in a WebUI's tab: fetched with the token as far as they are looked at, and sent to the
// WebUI's own pages.
"use strict";

(() => {
  const KEPT = 80;
  const PICTURE = "[data-sq-picture], [data-sq-picture-link]";

  // --- showing -----------------------------------------------------------------------------------------

  // "job/pictures/number" -> promise of the picture as a Blob and the address under which the page has it.
  const fetched = new Map();

  function picture(name) {
    let found = fetched.get(name);
    if (!found) {
      found = bring(name);
      found.catch(() => fetched.delete(name));
    }
    fetched.delete(name); // the last one asked for goes last
    fetched.set(name, found);
    for (const old of [...fetched.keys()].slice(0, -KEPT)) {
      fetched.get(old).then(({ address }) => drop(address), () => { /* It never came. */ });
      fetched.delete(old);
    }
    return found;
  }

  async function bring(name) {
    const answer = await window.stablequeue.ask(`jobs/${name}`);
    const type = answer.headers.get("Content-Type") || "";
    if (!answer.ok || type !== "image/png") throw new Error(`no picture (${answer.status})`);
    const blob = new Blob([await answer.arrayBuffer()], { type: "image/png" });
    return { blob, address: URL.createObjectURL(blob) };
  }

  // A picture that still stands in the page keeps its address.
  function drop(address) {
    if (!document.querySelector(`[src="${address}"], [href="${address}"]`)) URL.revokeObjectURL(address);
  }

  async function show(element) {
    const link = element.matches("a");
    const name = link ? element.dataset.sqPictureLink : element.dataset.sqPicture;
    try {
      const { address } = await picture(name);
      if (element.isConnected && name === (link ? element.dataset.sqPictureLink : element.dataset.sqPicture)) {
        element[link ? "href" : "src"] = address;
      }
    } catch {
      element.dataset.sqPictureFailed = "1"; // tried again when the view is shown anew
    }
  }

  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      show(target);
    }
  }, { rootMargin: "200px" });

  function watch(root) {
    for (const element of root.querySelectorAll(PICTURE)) {
      const address = element.getAttribute(element.matches("a") ? "href" : "src") || "";
      if (!address.startsWith("blob:")) seen.observe(element);
    }
  }

  // --- sending to the WebUI's own pages ------------------------------------------------------------------

  const PATIENCE_MS = 8000;

  const PRESSES = 3;

  // Until ``find`` finds something, or null when it does not in time.
  async function eventually(find, patience = PATIENCE_MS) {
    const end = performance.now() + patience;
    for (;;) {
      const found = find();
      if (found) return found;
      if (performance.now() > end) return null;
      await new Promise((resolve) => { setTimeout(resolve, 50); });
    }
  }

  function write(field, text) {
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  // The host's own way to read a generation text: it stands in the prompt, and its button is pressed.
  async function paste(tab, infotext) {
    const prompt = gradioApp().querySelector(`#${tab}_prompt textarea`);
    const negative = gradioApp().querySelector(`#${tab}_neg_prompt textarea`);
    const button = gradioApp().querySelector(`#${tab}_tools #paste`);
    if (!prompt || !button) return false;
    // Classic takes no text while there is a negative prompt, which the text replaces anyway.
    if (negative?.value) write(negative, "");
    write(prompt, infotext);
    // Whether its button takes a press is told to it late, so a press counts when the prompt shows it.
    for (let press = 0; press < PRESSES; press += 1) {
      await new Promise((resolve) => { setTimeout(resolve, 100); }); // the page notes what was written
      if (await eventually(() => !button.disabled)) button.click();
      if (await eventually(() => prompt.value !== infotext, PATIENCE_MS / PRESSES)) return true;
    }
    return false;
  }

  // As a person chooses a file: Gradio's image, and Forge's canvas, which has an input of its own.
  async function place(blob) {
    const holder = gradioApp().querySelector("#img2img_image");
    if (!holder) return false;
    const remove = holder.querySelector(".modify-upload button + button, .touch-none + div button + button, button[aria-label='Clear'], button[aria-label='Remove Image']");
    if (remove) remove.click();
    const input = await eventually(() => holder.querySelector("input[type=file]"));
    if (!input) return false;
    const files = new DataTransfer();
    files.items.add(new File([blob], "picture.png", { type: "image/png" }));
    input.files = files.files;
    input.dispatchEvent(new Event("change"));
    return true;
  }

  async function send(button) {
    const tab = button.dataset.sqSend === "img2img" ? "img2img" : "txt2img";
    const from = button.closest("[data-sq-sent]");
    const result = from.querySelector("[data-sq-result]");
    const infotext = from.dataset.sqInfotext;
    result.textContent = "One moment…";
    try {
      const blob = tab === "img2img" ? (await picture(from.dataset.sqSent)).blob : null;
      const written = !infotext || await paste(tab, infotext);
      const placed = !blob || await place(blob);
      window[`switch_to_${tab}`]();
      result.textContent = written && placed ? "Sent." : `This WebUI's ${tab} page could not be filled. Save the picture and open it there.`;
    } catch {
      result.textContent = "The hub did not send the picture. Try again when it answers.";
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("#sq-app [data-sq-send]");
    if (button && !button.disabled) send(button);
  });

  onUiLoaded(() => window.stablequeue.onShown(watch));
})();
