// The event stream of the node, kept up: it reconnects with a growing delay, and says what it does.
//
// It is read by fetch() and not by EventSource, which could not send the token.

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
/** So long without a byte, and the connection counts as dead; longer where the node sends more rarely. */
const SILENCE_MS = 15_000;
const SILENT_INTERVALS = 5;

/** Takes a stream's text apart into events. A line ends by LF or CRLF. */
class Parser {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.rest = "";
    this.event = "";
    this.data = [];
  }

  take(text) {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop();
    for (const line of lines) this.line(line.endsWith("\r") ? line.slice(0, -1) : line);
  }

  line(line) {
    if (line === "") {
      if (this.data.length) this.onEvent(this.event || "message", this.data.join("\n"));
      this.event = "";
      this.data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.event = value;
    else if (field === "data") this.data.push(value);
  }
}

/**
 * Follows `url`. `handlers`: `token()` answers with the token or null; `event(name, object)`; `state(name, detail)` with
 * `connecting`, `live`, `waiting` (detail: milliseconds until the next try, and why) and `refused` (detail: HTTP status
 * and why; nothing is tried again until `restart()`).
 */
export class Stream {
  constructor(url, handlers) {
    this.url = url;
    this.handlers = handlers;
    this.delay = FIRST_DELAY_MS;
    this.interval = 1000;
    this.restart();
    const now = () => this.waiting && this.restart();
    addEventListener("online", now);
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && now());
  }

  /** Ends what is there and connects at once, with the token of now. */
  restart() {
    clearTimeout(this.waiting);
    this.waiting = null;
    this.abort?.abort();
    this.abort = new AbortController();
    this.connect(this.abort);
  }

  async connect(abort) {
    this.handlers.state("connecting");
    let watch;
    const alive = () => {
      clearTimeout(watch);
      const silence = Math.max(SILENCE_MS, this.interval * SILENT_INTERVALS);
      watch = setTimeout(() => abort.abort(), silence);
    };
    let why = "the node has ended the connection";
    try {
      alive();
      const token = this.handlers.token();
      const response = await fetch(this.url, {
        headers: { Accept: "text/event-stream", ...(token && { Authorization: `Bearer ${token}` }) },
        cache: "no-store",
        signal: abort.signal,
      });
      if (response.status === 401 || response.status === 403) {
        const detail = await problem(response);
        if (this.abort === abort) this.handlers.state("refused", { status: response.status, why: detail });
        return;
      }
      if (!response.ok) throw new Error(await problem(response));
      await this.read(response.body.getReader(), alive, abort);
    } catch (error) {
      why = error.name === "AbortError" ? "nothing was heard" : error.message;
    } finally {
      clearTimeout(watch);
    }
    if (this.abort === abort) this.wait(why);
  }

  async read(reader, alive, abort) {
    const decoder = new TextDecoder();
    const parser = new Parser((name, data) => {
      if (this.abort !== abort) return;
      const object = JSON.parse(data);
      if (name === "hello") {
        this.delay = FIRST_DELAY_MS;
        this.interval = object.interval_ms;
        this.handlers.state("live");
      }
      this.handlers.event(name, object);
    });
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      parser.take(decoder.decode(value, { stream: true }));
    }
  }

  wait(why) {
    const delay = this.delay * (0.8 + 0.4 * Math.random());
    this.delay = Math.min(this.delay * 2, LONGEST_DELAY_MS);
    this.waiting = setTimeout(() => this.restart(), delay);
    this.handlers.state("waiting", { delay, why });
  }
}

/** What an answer that is no success says: the detail of its problem, else its status. */
export async function problem(response) {
  const said = await response.json().catch(() => null);
  return said?.detail || `the node answers ${response.status} ${response.statusText}`.trim();
}
