"use strict";
// Every text is put into the page as text, never as markup. What concerns this deployment comes from Airflow's REST API,
// with the login of the person who looks at it; from our own API comes only what a remote deployment answers.
const $ = (id) => document.getElementById(id);
const AIRFLOW = new URL("../", location.href), API = new URL("api/v2/", AIRFLOW), OURS = new URL("api/", location.href);
const PAGE = 100, MOST_LISTED = 10000, MOST_CONNECTIONS = 1000, MOST_WAITING = 1000, MOST_TASKS = 100, MOST_RUNS = 50;
const SECONDS = 30, SECONDS_TO_APPEAR = 4, SECONDS_TO_READ = 60, LONGEST_REST = 600, DAYS = 7;
// Lists are read again after this many times as long as they took, so that many open pages do not keep Airflow busy.
const REST = 20;
const WAITS = ["running", "deferred", "up_for_reschedule"], FINAL = ["success", "failed"];

function make(tag, { text, ...rest } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), rest);
  if (text !== undefined) made.textContent = text;
  made.append(...children.filter((each) => each !== null));
  return made;
}

// Airflow's colours and theme. Its frame has the same origin; opened by itself, the page follows the browser.

const host = (() => {
  try {
    return parent !== window && parent.document.documentElement ? parent : null;
  } catch {
    return null;
  }
})();
const COPIED = { "--bg": "--chakra-colors-bg", "--fg": "--chakra-colors-fg", "--muted": "--chakra-colors-fg-muted",
  "--raised": "--chakra-colors-bg-muted", "--border": "--chakra-colors-border", "--font": "--chakra-fonts-body" };
function follow() {
  const root = document.documentElement;
  if (!host) {
    root.classList.toggle("dark", matchMedia("(prefers-color-scheme: dark)").matches);
    paintMap();
    return;
  }
  const theirs = host.document.documentElement, style = host.getComputedStyle(theirs);
  root.classList.toggle("dark", theirs.classList.contains("dark"));
  for (const [ours, name] of Object.entries(COPIED)) {
    const value = style.getPropertyValue(name).trim();
    if (value) root.style.setProperty(ours, value);
    else root.style.removeProperty(ours);
  }
  paintMap();
}
const OF_MAP = { "--page": "--bg", "--card": "--bg", "--raised": "--raised", "--line": "--border", "--text": "--fg", "--soft": "--muted" };
function paintMap() {
  const root = $("map").contentDocument?.documentElement, style = getComputedStyle(document.documentElement);
  if (!root) return;
  root.dataset.theme = document.documentElement.classList.contains("dark") ? "dark" : "light";
  for (const [theirs, ours] of Object.entries(OF_MAP)) root.style.setProperty(theirs, style.getPropertyValue(ours));
}
follow();
if (host) new MutationObserver(follow).observe(host.document.documentElement, { attributeFilter: ["class", "style", "data-theme"] });
else matchMedia("(prefers-color-scheme: dark)").addEventListener("change", follow);

// The frame may open no other page, but Airflow's own page may.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || !host) return;
  event.preventDefault();
  const copy = host.document.createElement("a");
  copy.href = link.href;
  if (event.ctrlKey || event.metaKey || event.shiftKey || link.dataset.local === undefined) copy.target = "_blank";
  copy.rel = "noopener noreferrer";
  host.document.body.append(copy);
  copy.click();
  copy.remove();
});

// Reading

class Refused extends Error {
  constructor(status) {
    super(`HTTP ${status}`);
    this.status = status;
  }
}
async function read(url) {
  const signal = AbortSignal.timeout(SECONDS_TO_READ * 1000);
  const reply = await fetch(url, { headers: { accept: "application/json" }, credentials: "same-origin", signal });
  if (!reply.ok) throw new Refused(reply.status);
  return reply.json();
}
const path = (...parts) => parts.map(encodeURIComponent).join("/");
async function list(endpoint, key, query, most) {
  const found = [];
  for (;;) {
    const url = new URL(endpoint, API);
    url.search = new URLSearchParams([...query, ["limit", Math.min(PAGE, most)], ["offset", found.length]]);
    const reply = await read(url), page = reply[key];
    found.push(...page);
    const total = reply.total_entries ?? found.length;
    if (!page.length || found.length >= Math.min(total, most)) return { found, total };
  }
}

const known = new Map(); // connections by id
let waiting = [], runs = [], selected = null, waitingTotal = 0;
let onMap = new Set(); // connections that a DAG names
const published = new Map(); // what a task has pushed about its remote run

const fields = (task) => task.rendered_fields || {};
const connOf = (task) => (typeof fields(task).astronomer_conn_id === "string" ? fields(task).astronomer_conn_id : "");
const taskPath = (task) => path("dags", task.dag_id, "runs", task.dag_run_id, "tasks", task.task_id) + (task.map_index >= 0 ? `/mapped/${task.map_index}` : "");
const remoteDag = (task) => fields(task).trigger_dag_id || fields(task).external_dag_id || "";

function connection(id) {
  if (!known.has(id)) known.set(id, { id, host: null, stored: false, status: null, checked: null, waits: 0, since: null });
  return known.get(id);
}

async function readConnections() {
  const { found, total } = await list("connections", "connections", [["order_by", "connection_id"]], MOST_LISTED);
  const ours = found.filter((each) => each.conn_type === "astronomer").slice(0, MOST_CONNECTIONS);
  $("connections-note").hidden = total <= found.length && ours.length < MOST_CONNECTIONS;
  for (const each of known.values()) each.stored = false;
  for (const each of ours) Object.assign(connection(each.connection_id), { host: each.host, stored: true });
}

async function readTasks() {
  const operators = await read(new URL("operators", OURS));
  const named = (names) => names.map((name) => ["operator", name]);
  const states = WAITS.map((state) => ["state", state]);
  const all = "dags/~/dagRuns/~/taskInstances";
  const waits = await list(all, "task_instances", [...named(operators.all), ...states, ["order_by", "start_date"]], MOST_WAITING);
  const since = new Date(Date.now() - DAYS * 86400e3).toISOString();
  const latest = await list(all, "task_instances", [...named(operators.of_runs), ["start_date_gte", since], ["order_by", "-start_date"]], MOST_TASKS);
  waiting = waits.found.filter((task) => task.start_date);
  waitingTotal = waits.total;
  runs = latest.found.filter((task) => task.start_date);
  for (const each of known.values()) Object.assign(each, { waits: 0, since: null });
  for (const task of waiting) {
    const id = connOf(task);
    if (!id) continue;
    const used = connection(id);
    used.waits += 1;
    if (!used.since || task.start_date < used.since) used.since = task.start_date;
  }
  for (const task of runs) if (connOf(task)) connection(connOf(task));
  for (const each of [...known.values()]) {
    if (!each.stored && !onMap.has(each.id) && !waiting.some((task) => connOf(task) === each.id) && !runs.some((task) => connOf(task) === each.id)) known.delete(each.id);
  }
}

// Some versions send the JSON of a text.
function unquoted(text) {
  try {
    return text.startsWith('"') ? JSON.parse(text) : text;
  } catch {
    return text;
  }
}
async function readXCom(task, key) {
  const url = new URL(`${path("dags", task.dag_id, "dagRuns", task.dag_run_id, "taskInstances", task.task_id, "xcomEntries", key)}?map_index=${task.map_index}`, API);
  try {
    const { value } = await read(url);
    if (typeof value !== "string") return null;
    return unquoted(value);
  } catch (error) {
    if (error.status !== 404) throw error;
    return null;
  }
}
const shown = () => runs.filter((task) => !selected || connOf(task) === selected).slice(0, MOST_RUNS);
let publishing = Promise.resolve();
function readPublished() {
  publishing = publishing.then(readAllPublished);
  return publishing;
}
async function readAllPublished() {
  const todo = shown().filter((task) => !published.has(keyOf(task)));
  for (const key of published.keys()) if (!runs.some((task) => keyOf(task) === key)) published.delete(key);
  // A few at a time: they share Airflow's database with everything else.
  const next = async () => {
    for (let task = todo.shift(); task; task = todo.shift()) {
      const waits = WAITS.includes(task.state);
      try {
        const url = await readXCom(task, "remote_run_url"), state = url && !waits ? await readXCom(task, "remote_run_state") : null;
        // A task that waits may have none yet.
        if (url || !waits) published.set(keyOf(task), { url, state });
      } catch { /* The next refresh tries again. */ }
    }
  };
  await Promise.all([next(), next()]);
}

// The map is a page of its own. It does not change while it is open: a person may have moved it.
let mapState = "none", mapRead = null;
function readMap() {
  if (mapState === "loading" || mapState === "shown") return;
  mapState = "loading";
  mapRead = new Promise((done) => { $("map").addEventListener("load", done, { once: true }); });
  $("map").src = new URL("map", OURS);
}
$("map").addEventListener("load", () => {
  if (mapState !== "loading") return;
  const data = $("map").contentDocument?.getElementById("map");
  mapState = data ? "shown" : "failed";
  $("map").classList.toggle("unread", !data);
  $("map-note").hidden = Boolean(data);
  if (!data) {
    $("map-note").textContent = "Airflow's stored DAGs could not be read; the API server's log has the reason. The page tries again.";
    return;
  }
  const { edges } = JSON.parse(data.textContent);
  $("map").classList.toggle("nothing", !edges.length);
  paintMap();
  onMap = new Set(edges.map((edge) => edge.conn_id).filter(Boolean));
  for (const id of onMap) connection(id);
  if (shownOnce) show();
  pollStatuses();
});
const keyOf = (task) => `${task.id} ${task.try_number} ${task.state}`;

async function readStatus(each) {
  const before = each.status && labelOf(each.status)[1];
  try {
    const found = await read(new URL(`connections/${encodeURIComponent(each.id)}`, OURS));
    each.status = found;
    if (found.seconds_since_poll !== null) each.checked = Date.now() - found.seconds_since_poll * 1000;
    return found.seconds_to_next_poll;
  } catch (error) {
    each.status = { state: { 403: "hidden", 404: "missing", 422: "missing", 429: "busy" }[error.status] || "unknown" };
    return SECONDS;
  } finally {
    const label = labelOf(each.status)[1];
    if (before && before !== label) $("announced").textContent = `${each.id}: ${label}`;
  }
}

// Showing

const LABELS = {
  healthy: ["good", "Reachable"], unhealthy: ["warn", "Unhealthy"], no_permission: ["warn", "No permission"],
  hibernating: ["warn", "Hibernating"], login_refused: ["bad", "Login refused"], unavailable: ["bad", "Unavailable"], unreachable: ["bad", "Unreachable"],
  unexpected_reply: ["bad", "Unexpected reply"], misconfigured: ["bad", "Misconfigured"], checking: ["none", "Checking…"], hidden: ["none", "Not shown"], busy: ["none", "Not checked"], missing: ["bad", "No such connection"],
  unknown: ["none", "Unknown"],
};
const HINTS = {
  unavailable: "It may be starting, overloaded or hibernating.",
  hidden: "Your role may not read this connection.",
  missing: "A DAG names it, but there is no connection of this id and type, or it could not be read: see the API server's log.",
  busy: "Too many connections are being read.",
  unknown: "This Airflow did not answer. The page tries again.",
};
const labelOf = (status) => LABELS[status.state] || LABELS.unknown;
const badge = (tone, text) => make("span", { className: `badge ${tone}`, title: text }, make("span", { text }));
// Without what objects inherit: a state is what a remote deployment sent.
const RUN_TONES = { __proto__: null, success: "good", failed: "bad", running: "busy", queued: "none", waiting: "busy" };

function ago(when) {
  const seconds = Math.max(0, Math.round((Date.now() - when) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}
const time = (text) => make("time", { text: ago(Date.parse(text)), dateTime: text, title: new Date(text).toLocaleString([], { timeZoneName: "short" }) });
// By this it gets the focus back if it is made again.
function keyed(link) {
  link.dataset.key = link.href;
  return link;
}
function webLink(url, text) {
  let parsed = null;
  try {
    parsed = new URL(url);
  } catch { /* It is shown as text. */ }
  return parsed && /^https?:$/.test(parsed.protocol) ? keyed(make("a", { href: parsed.href, text, target: "_blank", rel: "noopener noreferrer" })) : make("span", { text });
}
function localLink(where, text) {
  const link = keyed(make("a", { href: new URL(where, AIRFLOW).href, text, target: "_top" }));
  link.dataset.local = "";
  return link;
}
const taskLink = (task) => localLink(taskPath(task), `${task.dag_id}.${task.task_id}${task.map_index >= 0 ? `[${task.map_index}]` : ""}`);
function runName(url) {
  try {
    const parsed = new URL(url), after = parsed.pathname.match(/\/runs\/([^/]+)/);
    return after ? decodeURIComponent(after[1]) : parsed.searchParams.get("dag_run_id") || "remote run";
  } catch {
    return "remote run";
  }
}

// Only what has changed is replaced: a person may be reading, selecting or listening to the rest.
function fill(id, rows, columns, nothing) {
  const body = $(id).tBodies[0], active = document.activeElement, focused = body.contains(active) && active.dataset.key;
  const target = rows.length ? rows : [make("tr", {}, make("td", { className: "nothing", colSpan: columns, text: nothing }))];
  target.forEach((made, index) => {
    const before = body.rows[index];
    if (before?.cells.length !== made.cells.length) return before ? before.replaceWith(made) : body.append(made);
    if (before.className !== made.className) before.className = made.className;
    [...made.cells].forEach((cell, at) => {
      if (!cell.isEqualNode(before.cells[at])) before.cells[at].replaceWith(cell);
    });
  });
  while (body.rows.length > target.length) body.lastElementChild.remove();
  if (focused) [...body.querySelectorAll("[data-key]")].find((each) => each.dataset.key === focused)?.focus();
}
function row(...cells) {
  return make("tr", {}, ...cells.map((cell) => make("td", {}, ...[cell].flat())));
}

function showConnections() {
  const rows = [...known.values()].sort((a, b) => a.id.localeCompare(b.id)).map((each) => {
    const status = each.status, [tone, label] = status ? labelOf(status) : ["none", "Checking…"];
    const button = make("button", { className: "link", text: each.id, type: "button", title: "Show only its tasks and runs" });
    button.dataset.key = each.id;
    button.setAttribute("aria-pressed", String(selected === each.id));
    button.onclick = () => {
      selected = selected === each.id ? null : each.id;
      show();
      readPublished().then(showRuns);
    };
    const scheduler = status?.components?.scheduler;
    const sick = Object.entries(status?.components || {}).filter(([name, state]) => name !== "scheduler" && state && state !== "healthy");
    const others = sick.map(([name, state]) => `${name}: ${state}`).join(", ");
    const explained = status && (status.problem || HINTS[status.state]);
    const made = row(
      button,
      each.stored ? each.host || "" : make("span", { className: "soft", text: "Not in Airflow's database", title: "It may come from the environment or a secrets backend." }),
      [badge(tone, label), explained ? make("small", { text: explained, title: explained }) : null].filter(Boolean),
      make("span", { className: "version", text: status?.airflow || "–", title: status?.airflow || "" }),
      [scheduler ? badge(scheduler === "healthy" ? "good" : "bad", scheduler) : "–", ...(others ? [make("small", { text: others, title: others })] : [])],
      [each.waits || waiting.every(connOf) ? String(each.waits) : "–", ...(each.since ? [make("small", {}, "oldest: ", time(each.since))] : [])],
      each.checked ? ago(each.checked) : "–",
    );
    made.classList.toggle("selected", selected === each.id);
    return made;
  });
  fill("connections", rows, 7, "");
}

const only = () => (selected ? ` for ${selected}` : "");
function showWaiting() {
  const those = waiting.filter((task) => !selected || connOf(task) === selected);
  $("waiting-title").textContent = `Waiting tasks${only()} (${those.length})`;
  const cut = waitingTotal > waiting.length;
  $("waiting-note").hidden = !cut;
  if (cut) $("waiting-note").textContent = `The ${waiting.length} oldest of ${waitingTotal}.`;
  fill("waiting", those.map((task) => {
    const wait = fields(task), what = remoteDag(task) || wait.pool_name || wait.uri || wait.asset || "–";
    return row(taskLink(task), connOf(task), String(what), badge("busy", task.state.replaceAll("_", " ")), time(task.start_date));
  }), 5, selected ? "No task waits for this deployment." : "No task waits for a remote deployment.");
}

function showRuns() {
  const those = shown();
  $("runs-title").textContent = `Remote runs${only()}`;
  fill("runs", those.map((task) => {
    const of = published.get(keyOf(task)), waits = WAITS.includes(task.state);
    const state = waits ? "waiting" : of?.state || (of ? "–" : "…");
    const early = !waits && of?.state && !FINAL.includes(of.state);
    return row(
      [badge(RUN_TONES[state] || "none", state), ...(early ? [make("small", { text: "when it was last read" })] : [])],
      [of?.url ? webLink(of.url, runName(of.url)) : make("span", { className: "soft", text: of ? "no run" : "…" }), make("small", { text: String(remoteDag(task)) })],
      connOf(task), taskLink(task), time(task.start_date),
    );
  }), 5, selected ? "No task has triggered or waited for a run of this deployment." : "No task has triggered or waited for a remote run.");
}

let shownOnce = false;
function show() {
  shownOnce = true;
  $("message").hidden = $("loading").hidden = true;
  $("empty").hidden = known.size > 0 || mapState === "loading";
  $("content").hidden = known.size === 0;
  showConnections();
  showWaiting();
  showRuns();
}

function fail(error) {
  const message = $("message");
  message.hidden = false;
  $("loading").hidden = true;
  if (error.status === 401) message.textContent = "Your session has expired. Log in to Airflow again, then reload this page.";
  else if (error.status === 403) {
    message.textContent = "You do not have permission to read connections. An administrator can grant it; this page then shows the remote deployments.";
    known.clear();
    $("content").hidden = $("empty").hidden = true;
  } else {
    message.textContent = "Airflow's API server did not answer. The page tries again.";
    console.error(error);
  }
}

const within = (seconds, promise) => Promise.race([promise, new Promise((done) => { setTimeout(done, seconds * 1000); })]);
async function refresh() {
  try {
    await readConnections();
    readMap();
    try {
      await readTasks();
      $("runs-note").hidden = true;
    } catch (error) {
      if (error.status !== 403) throw error;
      $("runs-note").hidden = false;
      $("runs-note").textContent = "You do not have permission to read task instances.";
    }
    listed = Date.now();
    // The page appears once, with what comes soon, rather than grow while a person reads it.
    if (!shownOnce) await within(SECONDS_TO_APPEAR, mapRead);
    const statuses = pollStatuses();
    if (!shownOnce) await within(SECONDS_TO_APPEAR, Promise.all([statuses, readPublished()]));
    show();
    $("updated").textContent = `Updated ${new Date().toLocaleTimeString()}`;
    await readPublished();
    showRuns();
  } catch (error) {
    listed = Date.now();
    fail(error);
  }
}

// The server says when it will poll a deployment again.
const due = new Map();
let polling = null;
function pollStatuses() {
  if (!document.hidden) polling ??= pollLate().finally(() => { polling = null; });
  return polling;
}
async function pollLate() {
  const late = [...known.values()].filter((each) => (due.get(each.id) || 0) <= Date.now());
  const next = async () => {
    for (let each = late.shift(); each; each = late.shift()) {
      due.set(each.id, Date.now() + Math.max(1, (await readStatus(each)) + 0.2) * 1000);
      showConnections();
    }
  };
  await Promise.all([next(), next(), next()]);
}

let refreshing = false, nextRefresh = 0, listed = 0;
async function refreshAndRest() {
  refreshing = true;
  const began = Date.now();
  await refresh();
  nextRefresh = Date.now() + Math.min(LONGEST_REST * 1000, Math.max(SECONDS * 1000, (listed - began) * REST));
  refreshing = false;
}
function poll() {
  if (document.hidden) return;
  if (!refreshing && Date.now() >= nextRefresh) refreshAndRest();
  if (known.size) {
    pollStatuses();
    showConnections();
  }
}
document.addEventListener("visibilitychange", poll);
setInterval(poll, 2000);
poll();
