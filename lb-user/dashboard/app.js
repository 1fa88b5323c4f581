// The dashboard: takes the node's event stream apart and hands it to the parts of the page.

import { Changes, token } from "./changes.js";
import { Charts } from "./charts.js";
import { byId, setAttribute, setText } from "./dom.js";
import { clock } from "./format.js";
import { History } from "./history.js";
import { Log } from "./log.js";
import { Node } from "./node.js";
import { Rates } from "./rates.js";
import { Services } from "./services.js";
import { Stream } from "./stream.js";
import { theme } from "./theme.js";

const history = new History();
const rates = new Rates();
const log = new Log();
const node = new Node();
const charts = new Charts(history);
const changes = new Changes(() => stream.restart());
const services = new Services(changes);

/** The version that this page belongs to. */
let version = null;
/** When the last status came; milliseconds. */
let seen = null;

const events = {
  hello(hello) {
    // A node of another version has another page.
    if (version !== null && version !== hello.version) location.reload();
    version = hello.version;
    rates.forget();
    node.hello(hello);
    changes.hello(hello);
  },
  history(event) {
    history.load(event);
    charts.show();
  },
  status(status) {
    seen = Date.now();
    const now = rates.take(status, performance.now());
    node.update(status, now);
    services.update(status, now);
    log.take(status);
    if (now && history.take(status, now)) charts.show();
  },
};

function showState(state, detail) {
  const since = seen ? `, shown as of ${clock(seen / 1000)}` : "";
  const text = {
    connecting: () => (seen ? `reconnecting${since}` : "connecting"),
    live: () => "live",
    waiting: () => `no connection${since}; next try in ${Math.ceil(detail.delay / 1000)} s`,
    refused: () => (detail.status === 401 ? "locked: the node wants its token" : "refused"),
  }[state]();
  const connection = byId("connection");
  setAttribute(connection, "data-state", state);
  setAttribute(connection, "title", detail?.why ?? null);
  setText(connection, text);
  setAttribute(document.body, "data-stale", state !== "live" && seen !== null);
}

const stream = new Stream("api/v1/events", {
  token,
  event: (name, object) => events[name]?.(object),
  state(state, detail) {
    showState(state, detail);
    if (state !== "refused") return;
    services.say(`The node shows nothing here: ${detail.why}`);
    if (detail.status === 401) changes.refused(detail);
  },
});

theme(() => charts.show());
