"use strict";
// Every text of the map is put into the page as text, never as markup.
const map = JSON.parse(document.getElementById("map").textContent);
const $ = (id) => document.getElementById(id);
const make = (tag, { text, ...rest } = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), rest);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
};
const svg = (tag, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};

const UNKNOWN = "(unknown)";
const LEFT = 400, RIGHT = 420, GAP = 330, HEAD = 44, ROW = 32, SPACE = 22, MARGIN = 28;
const several = new Set([...map.edges, ...map.import_errors].map((each) => each.local)).size > 1;
const tone = (how) => (/^(triggers|materializes)/.test(how) ? "starts" : /^(waits|reads|copies)/.test(how) ? "waits" : "changes");

// Two columns of cards: local DAGs with their tasks, and connections with what is depended on.
const cards = new Map(), rows = new Map();
function row(side, cardKey, title, sub, key, facts) {
  const whole = JSON.stringify([side, ...cardKey]);
  if (!cards.has(whole)) cards.set(whole, { side, title, sub, rows: [] });
  const card = cards.get(whole), id = JSON.stringify([side, ...cardKey, ...key]);
  if (!rows.has(id)) {
    rows.set(id, { card, edges: [], side, shown: true, ...facts });
    card.rows.push(rows.get(id));
  }
  return rows.get(id);
}
const edges = map.edges.map((edge) => {
  const conn = edge.conn_id ?? UNKNOWN, name = edge.name ?? UNKNOWN;
  const parent = edge.remote_dag_id ?? UNKNOWN;
  const part = edge.kind === "task" || edge.kind === "task group";
  const from = row("left", [edge.local, edge.dag_id], edge.dag_id, several ? `${edge.local} · ${edge.file}` : edge.file,
    [edge.task_id], { name: edge.task_id ?? "(schedule)", kind: "", unknown: false });
  const to = row("right", [conn], conn, map.unreachable[conn] ? "not reachable" : "connection",
    [edge.kind, edge.remote_dag_id, edge.name],
    { name: part ? `${parent}.${name}` : name, kind: edge.kind, unknown: edge.name === null || (part && edge.remote_dag_id === null) });
  const made = { ...edge, from, to, tone: tone(edge.how), broken: edge.status === "broken", shown: true };
  from.edges.push(made);
  to.edges.push(made);
  return made;
});

// Order: each remote object near the tasks that use it, which leaves few crossings.
const left = [...cards.values()].filter((card) => card.side === "left");
const right = [...cards.values()].filter((card) => card.side === "right");
const mean = (numbers) => numbers.reduce((sum, each) => sum + each, 0) / (numbers.length || 1);
function place(column) {
  let top = MARGIN;
  for (const card of column) {
    const shown = card.rows.filter((each) => each.shown);
    card.shown = shown.length > 0;
    if (!card.shown) continue;
    card.top = top;
    shown.forEach((each, index) => { each.y = top + HEAD + index * ROW + ROW / 2; });
    top += HEAD + shown.length * ROW + 2 + SPACE;
  }
  return top - SPACE + MARGIN;
}
function sortBy(column, other) {
  const pull = (each) => mean(each.edges.map((edge) => edge[other].y));
  for (const card of column) card.rows.sort((a, b) => pull(a) - pull(b));
  const weight = new Map(column.map((card) => [card, mean(card.rows.map(pull))]));
  column.sort((a, b) => weight.get(a) - weight.get(b));
}
place(left);
for (let round = 0; round < 4; round++) {
  sortBy(right, "from"); place(right);
  sortBy(left, "to"); place(left);
}
const width = MARGIN * 2 + LEFT + GAP + RIGHT;

// Draw.
const world = $("world"), lines = $("lines"), view = $("view");
for (const card of [...left, ...right]) {
  const isLeft = card.side === "left";
  const box = make("div", { className: "card" }, make("h2", { text: card.title, title: card.title }, make("small", { text: card.sub })));
  Object.assign(box.style, { left: `${isLeft ? MARGIN : MARGIN + LEFT + GAP}px`, width: `${isLeft ? LEFT : RIGHT}px` });
  for (const each of card.rows) {
    const button = make("button", { className: "row", type: "button" });
    if (each.unknown) button.classList.add("unknown");
    if (!isLeft) button.append(make("span", { className: "kind", text: each.kind }));
    button.append(make("span", { className: "name", text: each.name, title: each.name }));
    if (isLeft) {
      const does = [...new Set(each.edges.map((edge) => edge.how))].join(", ");
      button.append(make("span", { className: `does ${each.edges[0].tone}`, text: does, title: does }));
    }
    const bad = each.edges.filter((edge) => edge.broken).length;
    if (bad) button.append(make("span", { className: "bad", text: `▲ ${bad}`, title: `${bad} with problems` }));
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => select(selected === each ? null : each));
    button.addEventListener("focus", () => { if (button.matches(":focus-visible")) show(each); });
    button.addEventListener("mouseenter", () => { if (!selected) highlight(each.edges); });
    button.addEventListener("mouseleave", () => { if (!selected) restore(); });
    each.button = button;
    each.text = [each.name, each.kind, card.title, card.sub, ...each.edges.map((edge) => `${edge.how} ${edge.operator}`)].join(" ").toLowerCase();
    box.append(button);
  }
  card.box = box;
  world.append(box);
}
for (const edge of edges) {
  edge.drawn = svg("g", { class: `${edge.tone}${edge.broken ? " broken" : ""}` });
  edge.line = svg("path", {});
  edge.end = svg("circle", { cx: MARGIN + LEFT + GAP - 2, r: 4 });
  edge.drawn.append(edge.line, edge.end);
  lines.append(edge.drawn);
}
let height = 0;
function arrange() {
  // What is shown, in the middle of the higher column.
  const heights = [place(left), place(right)];
  height = Math.max(...heights);
  lines.setAttribute("width", width);
  lines.setAttribute("height", height);
  for (const [column, own] of [[left, heights[0]], [right, heights[1]]]) {
    for (const card of column) {
      card.box.hidden = !card.shown;
      if (!card.shown) continue;
      for (const each of card.rows) {
        each.button.hidden = !each.shown;
        if (each.shown) each.y += (height - own) / 2;
      }
      card.box.style.top = `${card.top + (height - own) / 2}px`;
    }
  }
  const x1 = MARGIN + LEFT, x2 = x1 + GAP, bend = GAP * 0.48;
  for (const edge of edges) {
    if (!edge.shown) continue;
    const y1 = edge.from.y, y2 = edge.to.y;
    edge.line.setAttribute("d", `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2 - 4} ${y2}`);
    edge.end.setAttribute("cy", y2);
  }
}

// What is shown: all, or what fits the search and the filter.
const none = make("p", { id: "none", text: "Nothing fits.", hidden: true });
view.append(none);
function filter() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean), onlyBroken = $("only-broken").checked;
  for (const each of rows.values()) {
    each.fits = words.every((word) => each.text.includes(word));
    each.shown = false;
  }
  for (const edge of edges) {
    edge.shown = (edge.broken || !onlyBroken) && (edge.from.fits || edge.to.fits);
    if (edge.shown) edge.from.shown = edge.to.shown = true;
  }
  none.hidden = !edges.length || edges.some((edge) => edge.shown);
  arrange();
  fit(false);
}
function hits() {
  return [...left, ...right].flatMap((card) => card.rows).filter((each) => each.shown && each.fits);
}

// What is bright, and what is dim.
let selected = null;
function highlight(bright) {
  const ends = new Set(bright.flatMap((edge) => [edge.from, edge.to])), lit = new Set(bright);
  for (const edge of edges) {
    edge.drawn.classList.toggle("dim", !lit.has(edge));
    edge.drawn.classList.toggle("bright", lit.has(edge) && lit.size < edges.length);
  }
  for (const each of rows.values()) each.button.classList.toggle("dim", !ends.has(each));
}
function restore() {
  highlight(selected ? selected.edges : edges);
}
function select(each) {
  if (each && !each.shown) clear();
  if (selected) selected.button.setAttribute("aria-pressed", "false");
  selected = each;
  if (each) each.button.setAttribute("aria-pressed", "true");
  restore();
  details(each);
  if (each) show(each);
  draw();
}
function details(each) {
  const box = $("details"), before = view.clientWidth;
  box.hidden = !each;
  if (!moved && view.clientWidth !== before) fit(false);
  box.replaceChildren();
  if (!each) return;
  const close = make("button", { className: "close", type: "button", text: "×" });
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => { select(null); each.button.focus(); });
  const sub = each.side === "left" ? `task of DAG ${each.card.title}, in ${each.card.sub}` : `${each.kind} in connection ${each.card.title}`;
  const list = make("ul");
  for (const edge of each.edges) {
    const other = each.side === "left" ? edge.to : edge.from;
    const go = make("button", { type: "button", text: each.side === "left" ? `${other.kind} ${other.name}` : `${other.card.title}.${other.name}` });
    go.addEventListener("click", () => { select(other); other.button.focus(); });
    const item = make("li", {}, make("b", { className: edge.tone, text: edge.how }), " ",
      each.side === "left" ? go : make("span", { text: "by " }, go));
    const facts = [edge.operator, `connection ${edge.conn_id ?? UNKNOWN}`];
    if (edge.slots !== null && edge.slots > 0) facts.push(`${edge.slots} slots`);
    if (edge.optional) facts.push("may be missing");
    if (map.checked && !edge.broken) facts.push({ ok: "checked", unknown: "not known before it runs", unchecked: "not checked" }[edge.status]);
    item.append(make("p", { className: "soft", text: facts.join(" · ") }));
    for (const problem of edge.problems) item.append(make("p", { className: "bad", text: `▲ ${problem}` }));
    list.append(item);
  }
  box.append(close, make("h3", { text: each.name }), make("p", { className: "sub", text: sub }), list);
}

// Pan and zoom.
const at = { x: 0, y: 0, scale: 1 }, LEGEND = 44, SMALLEST = 0.15;
let moved = false;
function draw() {
  // A line that neither begins nor ends in sight says nothing, and thousands of them make the browser slow.
  const top = -at.y / at.scale, bottom = (view.clientHeight - at.y) / at.scale;
  const inSight = (each) => each.y > top - ROW && each.y < bottom + ROW;
  for (const edge of edges) {
    edge.drawn.toggleAttribute("hidden", !(edge.shown && (inSight(edge.from) || inSight(edge.to) || edge.from === selected || edge.to === selected)));
  }
}
let planned = false;
function move() {
  moved = true;
  if (!planned) requestAnimationFrame(() => { planned = false; draw(); });
  planned = true;
  world.style.transform = `translate(${at.x}px, ${at.y}px) scale(${at.scale})`;
}
function zoom(factor, x = view.clientWidth / 2, y = view.clientHeight / 2) {
  const scale = Math.min(2.5, Math.max(SMALLEST, at.scale * factor)), ratio = scale / at.scale;
  Object.assign(at, { scale, x: x - (x - at.x) * ratio, y: y - (y - at.y) * ratio });
  move();
}
function fit(whole) {
  const across = view.clientWidth / width, room = view.clientHeight - LEGEND, down = room / height;
  // At first everything is readable; "Fit" shows all of it.
  at.scale = Math.min(1.25, whole ? Math.max(Math.min(across, down), SMALLEST) : Math.max(Math.min(across, down), Math.min(across, 0.8)));
  at.x = Math.max(0, (view.clientWidth - width * at.scale) / 2);
  at.y = Math.max(0, (room - height * at.scale) / 2);
  move();
  moved = false;
}
function show(each) {
  // Browsers scroll to what has the focus; here the map moves instead.
  view.scrollTo(0, 0);
  const y = at.y + each.y * at.scale, edge = 50, before = `${at.x} ${at.y}`;
  if (y < edge) at.y += edge - y;
  if (y > view.clientHeight - edge) at.y -= y - view.clientHeight + edge;
  const x1 = at.x + (each.side === "left" ? MARGIN : MARGIN + LEFT + GAP) * at.scale, x2 = x1 + (each.side === "left" ? LEFT : RIGHT) * at.scale;
  if (x2 > view.clientWidth) at.x -= x2 - view.clientWidth + 10;
  else if (x1 < 0) at.x -= x1 - 10;
  if (before !== `${at.x} ${at.y}`) move();
}
view.addEventListener("scroll", () => view.scrollTo(0, 0));
const framed = parent !== window;
document.documentElement.classList.toggle("framed", framed);
view.addEventListener("wheel", (event) => {
  // In a frame, the wheel alone scrolls the page around it.
  if (framed && !event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  if (event.ctrlKey || event.metaKey) {
    const box = view.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
  } else {
    at.x -= event.deltaX;
    at.y -= event.deltaY;
    move();
  }
}, { passive: false });
view.addEventListener("pointerdown", (event) => {
  if (event.target.closest(".card") || event.button) return;
  let dragged = false;
  view.setPointerCapture(event.pointerId);
  view.classList.add("dragged");
  const drag = (next) => {
    dragged = true;
    at.x += next.movementX;
    at.y += next.movementY;
    move();
  };
  const end = () => {
    view.classList.remove("dragged");
    view.removeEventListener("pointermove", drag);
    if (!dragged) select(null);
  };
  view.addEventListener("pointermove", drag);
  view.addEventListener("pointerup", end, { once: true });
  view.addEventListener("pointercancel", end, { once: true });
});
$("in").addEventListener("click", () => zoom(1.25));
$("out").addEventListener("click", () => zoom(0.8));
$("fit").addEventListener("click", () => fit(true));
addEventListener("resize", () => fit(false));

// Search and keyboard.
$("search").addEventListener("input", () => {
  if (selected) select(null);
  filter();
});
$("search").addEventListener("keydown", (event) => {
  const first = hits()[0];
  if (event.key === "Enter" && first) {
    // The same key would press the button that gets the focus.
    event.preventDefault();
    select(first);
    first.button.focus();
  }
});
$("only-broken").addEventListener("change", () => {
  if (selected) select(null);
  filter();
});
function clear() {
  $("search").value = "";
  $("only-broken").checked = false;
  filter();
}
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target === $("search");
  if (event.key === "Escape") {
    const before = selected;
    select(null);
    if ($("search").value) {
      $("search").value = "";
      filter();
    }
    if (before) before.button.focus();
    return;
  }
  if (typing) return;
  const order = [...left, ...right].flatMap((card) => card.rows).filter((each) => each.shown);
  const here = order.find((each) => each.button === event.target);
  const moves = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
  if (event.key === "/") $("search").focus();
  else if (event.key === "+" || event.key === "=") zoom(1.25);
  else if (event.key === "-") zoom(0.8);
  else if (event.key === "0") fit(true);
  else if (event.key in moves && here) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const across = event.key === "ArrowRight" ? "left" : "right";
    const next = step ? order[order.indexOf(here) + step]
      : here.side === across ? here.edges.find((edge) => edge.shown)[across === "left" ? "to" : "from"] : null;
    if (next) next.button.focus();
  } else if (event.key in moves && event.target === document.body) {
    at.x += moves[event.key][0];
    at.y += moves[event.key][1];
    move();
  } else return;
  event.preventDefault();
});

// Words around it.
const broken = edges.filter((edge) => edge.broken).length;
const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const state = !map.checked ? "not checked" : broken ? count(broken, "problem") : "no problems";
$("summary").textContent = `${count(edges.length, "dependency").replace("dependencys", "dependencies")} of ${count(left.length, "DAG")} on ${count(right.length, "connection")} · ${state}`;
$("only").hidden = !broken;
for (const { local, file, error } of map.import_errors) $("notes").append(make("p", { text: `${several ? `${local}: ` : ""}${file} could not be read: ${error}` }));
for (const [conn, error] of Object.entries(map.unreachable)) $("notes").append(make("p", { text: `${conn} was not checked: ${error}` }));
if (!edges.length) {
  $("legend").hidden = true;
  view.append(make("p", { id: "empty", text: `None of the ${count(map.dags, "DAG")} uses a remote deployment.` }));
}
filter();
restore();
