// Keeps a page up to date. A page that wants it has one element with data-live,
// the address of an event stream, and elements with data-part and an id: at
// each event the page is fetched again and those parts take their new content.
"use strict";
(() => {
  // Time that is left runs down between the updates.
  const left = (seconds) => {
    const d = Math.floor(seconds / 86400), h = Math.floor(seconds / 3600) % 24, m = Math.floor(seconds / 60) % 60, s = seconds % 60;
    if (seconds <= 0) return "no time";
    if (d > 0) return h > 0 ? `${d} d ${h} h` : `${d} d`;
    if (h > 0) return `${h} h ${m} min`;
    if (m >= 10) return `${m} min`;
    return m > 0 ? `${m} min ${s} s` : `${s} s`;
  };
  const tick = () => {
    for (const t of document.querySelectorAll("time[data-left]")) {
      const text = left(Math.round((Date.parse(t.dateTime) - Date.now()) / 1000));
      if (t.textContent !== text) t.textContent = text;
    }
  };
  setInterval(tick, 1000);

  const live = document.querySelector("[data-live]");
  if (!live || !window.EventSource) return;
  const status = document.querySelector("[data-live-status]");
  const say = (text) => { if (status && status.textContent !== text) status.textContent = text; };

  // A request for a document never runs the scripts in it.
  const refresh = () => {
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.onload = () => {
      if (request.status !== 200 || !request.response || request.responseURL.includes("/sign-in")) return;
      for (const part of document.querySelectorAll("[data-part]")) {
        const fresh = request.response.getElementById(part.id);
        if (fresh) replace(part, document.importNode(fresh, true));
      }
      const title = request.response.querySelector("title");
      if (title) document.title = title.textContent;
      tick();
    };
    request.send();
  };

  // What had the focus has it again, and nothing changes under a person's
  // fingers: a part with a field in use waits.
  const replace = (part, fresh) => {
    const focus = part.contains(document.activeElement) ? document.activeElement : null;
    if (focus && focus.matches("input, textarea, select")) return;
    if (part.isEqualNode(fresh)) return;
    const id = focus && focus.id, href = focus && focus.getAttribute("href");
    part.replaceWith(fresh);
    if (!focus) return;
    const again = id ? document.getElementById(id) : href && [...fresh.querySelectorAll("a")].find((a) => a.getAttribute("href") === href);
    if (again) again.focus();
  };

  // A tab that nobody looks at keeps no connection: browsers have few. The first
  // event of each stream comes at once, for what happened in between.
  let source = null;
  const open = () => {
    if (source) return;
    source = new EventSource(live.dataset.live);
    source.onopen = () => say("Live");
    source.onmessage = refresh;
    source.onerror = () => { say("Not live: trying again"); if (source.readyState === EventSource.CLOSED) close(); };
  };
  const close = () => { if (source) source.close(); source = null; };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  if (!document.hidden) open();
})();
