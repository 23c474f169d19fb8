// Times in views: written in the reader's own time zone, and kept true as they grow older.
"use strict";

(() => {
  window.stablequeueParts ??= {};
  const parts = window.stablequeueParts;

  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long" });
  const dayAndYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric" });

  function dateText(at, now) {
    if (at.toDateString() === now.toDateString()) return "today";
    return (at.getFullYear() === now.getFullYear() ? day : dayAndYear).format(at);
  }

  function agoText(at, now) {
    const seconds = Math.max(0, Math.round((now - at) / 1000));
    if (seconds < 60) return "just now";
    if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
    return `${dateText(at, now)}, ${clock.format(at)}`;
  }

  function timeText(style, at, now) {
    if (style === "clock") return clock.format(at);
    if (style === "date") return dateText(at, now);
    if (style === "ago") return agoText(at, now);
    const date = dateText(at, now);
    return date === "today" ? clock.format(at) : `${date}, ${clock.format(at)}`;
  }

  function localise(root) {
    const now = new Date();
    for (const element of root.querySelectorAll("time[data-sq-time]")) {
      const at = new Date(element.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const text = timeText(element.dataset.sqTime, at, now);
      if (element.textContent !== text) element.textContent = text;
      const whole = `${dayAndYear.format(at)}, ${clock.format(at)}`;
      if (element.title !== whole) element.title = whole;
    }
  }

  parts.times = Object.freeze({ clock, localise });
})();
