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
      fetched.get(old).then(({ address }) => drop(old, address), () => {});
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
  function drop(name, address) {
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
    } catch (error) {
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

  window.stablequeue.onShown(watch);
})();
