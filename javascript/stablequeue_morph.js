// Swapping in what changed: makes the shown nodes equal to those of a new answer.
"use strict";

(() => {
  window.stablequeueParts ??= {};
  const parts = window.stablequeueParts;

  // Text, focus, scroll positions, open details and half-typed input live in the nodes; whoever keeps the
  // nodes keeps them all. So equal nodes stay, and only differences are written.

  function sameThing(before, after) {
    return before.nodeType === after.nodeType && before.nodeName === after.nodeName
      && (before.id || "") === (after.id || "");
  }

  // What the page gave a node stays: a section that somebody opened, a picture that is shown already.
  function keeps(before, after, name) {
    if (name === "open") return before.nodeName === "DETAILS";
    const pictured = { src: "data-sq-picture", href: "data-sq-picture-link" }[name];
    return pictured && before.hasAttribute(pictured) && before.getAttribute(pictured) === after.getAttribute(pictured);
  }

  function morphAttributes(before, after) {
    for (const { name } of [...before.attributes]) {
      if (!after.hasAttribute(name) && !keeps(before, after, name)) before.removeAttribute(name);
    }
    for (const { name, value } of [...after.attributes]) {
      if (keeps(before, after, name)) continue;
      if (before.getAttribute(name) !== value) before.setAttribute(name, value);
    }
  }

  function morph(before, after) {
    if (before.nodeType !== Node.ELEMENT_NODE) {
      if (before.nodeValue !== after.nodeValue) before.nodeValue = after.nodeValue;
      return;
    }
    morphAttributes(before, after);
    if (before.hasAttribute("data-sq-result")) return;
    if (before.nodeName === "SELECT" && before === document.activeElement) return;
    morphChildren(before, after);
  }

  // The children that stay, by their ids. What is gone goes first: moving all that follows past it would take the
  // focus from it.
  function keptById(before, after) {
    const wanted = new Set([...after.children].map((child) => child.id));
    const kept = new Map();
    for (const child of [...before.children]) {
      if (!child.id) continue;
      if (wanted.has(child.id)) kept.set(child.id, child);
      else child.remove();
    }
    return kept;
  }

  // Removes ``first`` and what follows, as far as ``goes`` says so. What stands there then.
  function removeWhile(first, goes) {
    let here = first;
    while (here && goes(here)) {
      const next = here.nextSibling;
      here.remove();
      here = next;
    }
    return here;
  }

  // Makes ``wanted`` stand before ``here`` or in its place: as the node ``known`` of the same id, as ``here`` itself,
  // or as it came. Where the next one goes.
  function settle(parent, here, wanted, known) {
    if (known && known !== here && sameThing(known, wanted)) {
      parent.insertBefore(known, here);
      morph(known, wanted);
      return here;
    }
    if (here && sameThing(here, wanted)) {
      const next = here.nextSibling;
      morph(here, wanted);
      return next;
    }
    parent.insertBefore(wanted, here);
    return here;
  }

  function morphChildren(before, after) {
    const kept = keptById(before, after);
    let here = before.firstChild;
    for (const wanted of [...after.childNodes]) {
      // The spaces around what is gone: passing what follows before them would take the focus from it too.
      if (wanted.nodeType === Node.ELEMENT_NODE) here = removeWhile(here, (node) => node.nodeType === Node.TEXT_NODE);
      here = settle(before, here, wanted, kept.get(wanted.id));
    }
    removeWhile(here, () => true);
  }

  function parsed(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    parts.times.localise(template.content);
    return template.content;
  }

  parts.morph = Object.freeze({ morphChildren, parsed });
})();
