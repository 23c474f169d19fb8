// What a page asks of its place: each request with a limit of time, a view only when it changed.
"use strict";

(() => {
  window.stablequeueParts ??= {};
  const parts = window.stablequeueParts;

  const PIECE_BYTES = 768 * 1024;
  const TIMEOUT_MS = 15000;
  const VERSION = "X-StableQueue-Version";
  const NAV = "X-StableQueue-Nav";

  // An answer that says why there is no view.
  class RefusedError extends Error {}

  // Whether StableQueue answered, and not what else may stand at the address.
  function isOurs(answer) {
    return Boolean(answer.headers.get(VERSION));
  }

  function isHtml(answer) {
    return (answer.headers.get("Content-Type") || "").startsWith("text/html");
  }

  // What an answer that is no view says, as the API writes errors.
  async function errorText(answer) {
    try {
      const { error } = await answer.json();
      return `${error.message} ${error.remedy || ""}`.trim();
    } catch {
      return `The address of this page answers ${answer.status} instead of a view.`;
    }
  }

  class Requests {
    constructor(page) {
      this.page = page;
      this.host = page.host;
      this.tags = new Map();
    }

    async ask(address, options) {
      const control = new AbortController();
      const timer = setTimeout(() => control.abort(), TIMEOUT_MS);
      const headers = { ...this.host.headers, ...options.headers };
      try {
        const answer = await fetch(address, { cache: "no-store", credentials: "same-origin", redirect: "error", signal: control.signal, ...options, headers });
        this.host.refused(answer);
        return answer;
      } finally {
        clearTimeout(timer);
      }
    }

    // ``path``: below /views/.
    post(path, body, headers = {}) {
      return this.ask(`${this.host.base}/views/${path}`, { method: "POST", body, headers });
    }

    // A proxy before the hub may take only small requests; a WebUI's own routes take a file whole.
    async postFile(path, file) {
      const headers = { "Content-Type": "application/octet-stream" };
      if (!this.host.takesPieces || file.size <= PIECE_BYTES) return this.post(path, file, headers);
      const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
      for (let offset = 0; offset < file.size; offset += PIECE_BYTES) {
        const address = `${this.host.base}/api/v1/bodies/${id}?offset=${offset}&total=${file.size}`;
        const answer = await this.ask(address, { method: "PUT", body: file.slice(offset, offset + PIECE_BYTES), headers });
        if (!answer.ok) return answer;
      }
      return this.post(path, "", { ...headers, "X-StableQueue-Body": id });
    }

    // The answer's HTML, or null when it is what is shown already.
    async fetchText(address) {
      const tag = this.tags.get(address);
      const answer = await this.ask(address, { headers: tag ? { "If-None-Match": tag } : {} });
      this.page.navigation.showWays(answer.headers.get(NAV));
      if (answer.status === 304) return null;
      // A WebUI's own answer about a hub that fails is a view like others; a hub's own failure is not.
      if (answer.status >= 500 && !isOurs(answer)) throw new Error(`answered ${answer.status}`);
      if (!isHtml(answer)) throw new RefusedError(await errorText(answer));
      if (answer.ok && answer.headers.get("ETag")) this.tags.set(address, answer.headers.get("ETag"));
      return answer.text();
    }

    // The next answer comes whole, whatever is shown.
    forget(address) {
      this.tags.delete(address);
    }
  }

  parts.Requests = Requests;
  parts.requests = Object.freeze({ RefusedError, errorText, isHtml, isOurs });
})();
