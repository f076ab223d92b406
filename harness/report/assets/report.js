"use strict";
(() => {
const root = document.documentElement;
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const data = JSON.parse(document.getElementById("data").textContent);
root.classList.add("scripted");
const theme = new URLSearchParams(location.search).get("theme");
if (theme === "light" || theme === "dark") root.dataset.theme = theme;

/* Copying. Where the clipboard is refused, the command is selected instead. */
for (const button of all("[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

/* A link into something that is folded opens it; paper has nothing to click on. */
const reveal = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  let folded = target.closest("details");
  while (folded) { folded.open = true; folded = folded.parentElement.closest("details"); }
  target.scrollIntoView({ block: "start" });
};
addEventListener("hashchange", reveal);
if (location.hash) reveal();
let folded = [];
addEventListener("beforeprint", () => { folded = all("details:not([open])"); for (const d of folded) d.open = true; });
addEventListener("afterprint", () => { for (const d of folded) d.open = false; });

/* Zoom: one window of time for all panels. Times are microseconds since the run began. */
const chart = document.getElementById("chart");
const svgNs = "http:/" + "/www.w3.org/2000/svg";
const full = [0, data.end_us];
let view = [...full];
const geometries = all("svg.geo", chart).map(svg => ({ svg, height: svg.viewBox.baseVal.height, width: svg.viewBox.baseVal.width }));
const placed = all("[data-a]", chart).map(element => ({ element, a: +element.dataset.a, b: element.dataset.b === undefined ? null : +element.dataset.b }));
const axis = document.querySelector("#panel-time svg.panel");
const panels = all("svg.panel", chart);
const minimumUs = Math.max(50, data.end_us / 5000);
const percent = at => (at - view[0]) / (view[1] - view[0]) * 100;

function niceStep(span, wanted) {
  const raw = span / wanted, power = 10 ** Math.floor(Math.log10(raw)), part = raw / power;
  return power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
}
function element(name, attributes, parent, text) {
  const made = document.createElementNS(svgNs, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}
function drawTicks() {
  axis.replaceChildren();
  for (const line of all("line.grid", chart)) line.remove();
  const step = niceStep((view[1] - view[0]) / 1e6, Math.max(4, axis.clientWidth / 110));
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  for (let s = Math.ceil(view[0] / 1e6 / step) * step; s * 1e6 <= view[1]; s += step) {
    const x = percent(s * 1e6);
    if (x < 0 || x > 99) continue;
    const at = x.toFixed(3) + "%";
    element("line", { class: "tick", x1: at, x2: at, y1: 0, y2: 5 }, axis);
    element("text", { class: "tick-label", x: at, y: 19 }, axis, s.toFixed(digits));
    for (const panel of panels) {
      const geometry = panel.querySelector("svg.geo");
      if (!geometry) continue;
      const line = element("line", { class: "grid", x1: at, x2: at, y1: 0, y2: "100%" }, panel);
      panel.insertBefore(line, geometry);
    }
  }
}
function show(from, to) {
  let span = Math.min(Math.max(to - from, minimumUs), full[1]);
  const middle = (from + to) / 2;
  from = Math.min(Math.max(middle - span / 2, 0), full[1] - span);
  view = [from, from + span];
  for (const { svg, width, height } of geometries) {
    svg.setAttribute("viewBox", `${view[0] / full[1] * width} 0 ${span / full[1] * width} ${height}`);
  }
  for (const { element, a, b } of placed) {
    const x = percent(a);
    if (element.localName === "line") {
      element.setAttribute("x1", x + "%"); element.setAttribute("x2", x + "%");
    } else if (element.localName === "rect") {
      const left = Math.max(x, -1), right = Math.min(percent(b), 101);
      element.setAttribute("x", left + "%"); element.setAttribute("width", Math.max(right - left, 0) + "%");
    } else {
      /* A label whose thing began further left stays in sight while that lasts. */
      const link = element.closest("a");
      const lasts = b === null ? link && all("rect[data-b]", link).some(rect => percent(+rect.dataset.b) > 6) : percent(b) > 6;
      element.setAttribute("x", (x < 0 && lasts ? 0 : x) + "%");
    }
  }
  drawTicks();
}
const move = { in: [.5, 0], out: [2, 0], left: [1, -.4], right: [1, .4] };
function act(what) {
  if (what === "all") return show(...full);
  const [scale, shift] = move[what], span = view[1] - view[0], middle = (view[0] + view[1]) / 2 + shift * span;
  show(middle - span * scale / 2, middle + span * scale / 2);
}
for (const button of all("[data-zoom]")) button.addEventListener("click", () => act(button.dataset.zoom));
for (const button of all("[data-zoom-to]")) button.addEventListener("click", () => {
  const [a, b] = button.dataset.zoomTo.split(",").map(Number), room = Math.max((b - a) * .5, full[1] / 100);
  show(a - room, b + room);
  document.getElementById("time").scrollIntoView();
});

/* The pointer: drag to zoom in, hover to be told. */
const tip = document.getElementById("tip");
const plotBox = () => axis.getBoundingClientRect();
const timeAt = event => { const box = plotBox(); return view[0] + (event.clientX - box.left) / box.width * (view[1] - view[0]); };
let dragged = null;
const inPlot = event => { const box = plotBox(); return event.clientX >= box.left && event.clientX <= box.right; };
chart.addEventListener("pointerdown", event => {
  if (event.button !== 0 || event.pointerType === "touch" || event.target.closest("a") || !inPlot(event)) return;
  dragged = { from: timeAt(event), x: event.clientX, marks: panels.map(panel => element("rect", { class: "select", y: 0, height: "100%", width: 0 }, panel)) };
  event.preventDefault();
});
addEventListener("pointermove", event => {
  if (!dragged) return;
  const [a, b] = [dragged.from, timeAt(event)].sort((p, q) => p - q).map(percent);
  for (const mark of dragged.marks) { mark.setAttribute("x", a + "%"); mark.setAttribute("width", (b - a) + "%"); }
});
addEventListener("pointerup", event => {
  if (!dragged) return;
  for (const mark of dragged.marks) mark.remove();
  if (Math.abs(event.clientX - dragged.x) > 6) show(...[dragged.from, timeAt(event)].sort((p, q) => p - q));
  dragged = null;
});
chart.addEventListener("dblclick", () => act("all"));
chart.addEventListener("wheel", event => {
  if (!event.shiftKey && !event.ctrlKey) return;
  event.preventDefault();
  const span = view[1] - view[0], turn = event.deltaY || event.deltaX;
  if (event.ctrlKey) {
    const at = timeAt(event), scale = turn > 0 ? 1.25 : .8;
    show(at - (at - view[0]) * scale, at + (view[1] - at) * scale);
  } else show(view[0] + Math.sign(turn) * span * .15, view[1] + Math.sign(turn) * span * .15);
}, { passive: false });

const latency = document.querySelector("#panel-latency svg.panel");
const points = data.points, hidden = { ok: false, fail: false, info: false, kinds: new Set() };
const three = value => value >= 99.5 ? value.toFixed(0) : value >= 9.95 ? value.toFixed(1) : value.toFixed(2);
const length = us => us < 1000 ? us + " µs" : us < 1e6 ? three(us / 1e3) + " ms" : three(us / 1e6) + " s";
function nearest(event) {
  const box = latency.getBoundingClientRect();
  if (event.clientY < box.top || event.clientY > box.bottom) return null;
  const [low, high] = data.latency_ms, perUs = box.width / (view[1] - view[0]), radius = 14;
  const at = timeAt(event), reach = radius / perUs;
  let left = 0, right = points.t.length;
  while (left < right) { const middle = (left + right) >> 1; if (points.t[middle] < at - reach) left = middle + 1; else right = middle; }
  let best = null, distance = radius * radius;
  for (let i = left; i < points.t.length && points.t[i] <= at + reach; i++) {
    if (hidden.kinds.has(points.k[i]) || hidden[points.o[i] ? "fail" : "ok"]) continue;
    const x = box.left + (points.t[i] - view[0]) * perUs;
    const y = box.top + Math.log(high / Math.max(points.l[i] / 1e3, low)) / Math.log(high / low) * box.height;
    const d = (x - event.clientX) ** 2 + (y - event.clientY) ** 2;
    if (d < distance) { distance = d; best = { i, x: x - box.left, y: y - box.top }; }
  }
  return best;
}
const lanes = new Map(data.lanes.map(lane => [lane.id, lane]));
/* Of entries that begin with their time, the last one not after it. */
function lastBefore(entries, at) {
  let left = 0, right = entries.length;
  while (left < right) { const middle = (left + right) >> 1; if (entries[middle][0] <= at) left = middle + 1; else right = middle; }
  return entries[left - 1];
}
let crosses = [], ring = null;
function forget() { tip.hidden = true; for (const cross of crosses) cross.remove(); crosses = []; if (ring) { ring.remove(); ring = null; } }
chart.addEventListener("pointerleave", forget);
chart.addEventListener("pointermove", event => {
  forget();
  if (!inPlot(event) || dragged) return;
  const at = timeAt(event), x = percent(at) + "%";
  crosses = panels.map(panel => element("line", { class: "cross", x1: x, x2: x, y1: 0, y2: "100%" }, panel));
  const wall = new Date(data.started_wall_ms + at / 1e3).toISOString().replace("T", " ").replace("Z", " UTC");
  const lines = [`${(at / 1e6).toFixed(3)} s  (${wall})`];
  const w = Math.floor(at / data.window_us);
  if (data.rate.ok[w] !== undefined) lines.push(`ok ${data.rate.ok[w]} /s · fail ${data.rate.fail[w]} /s · info ${data.rate.info[w]} /s`);
  if (data.quantiles_us[0][w] != null) lines.push(`p50 ${length(data.quantiles_us[0][w])} · p95 ${length(data.quantiles_us[1][w])} · p99 ${length(data.quantiles_us[2][w])}`);
  const led = lastBefore(data.led, at);
  if (led) lines.push("leader " + led[1]);
  const lane = lanes.get(event.target.closest(".row")?.id);
  if (lane && at <= lane.until_us) for (const [source, starts] of lane.sources) {
    const stretch = lastBefore(starts, at);
    if (stretch) lines.push(`${source}: ${data.held[stretch[1]]}` + (stretch[2] ? ` (${data.said[stretch[2] - 1]})` : ""));
  }
  if (lane) for (const [a, b, word] of lane.roles) if (a <= at && at < b) lines.push("role: " + word);
  for (const fault of data.faults) if (fault.from_us <= at && at <= fault.to_us) lines.push(`fault ${fault.id}: ${fault.label}`);
  const hit = nearest(event);
  if (hit) {
    const i = hit.i;
    lines.push(`operation ${points.i[i]}: ${data.kinds[points.k[i]]}, process ${points.p[i]}, ${points.o[i] ? "fail" : "ok"} after ${length(points.l[i])}` + (points.n[i] > 1 ? `, and ${points.n[i] - 1} like it` : ""));
    ring = element("circle", { class: "ring", cx: hit.x, cy: hit.y, r: 6 }, latency);
  }
  tip.textContent = lines.join("\n");
  tip.hidden = false;
  const box = chart.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
  tip.style.left = (px + tip.offsetWidth + 24 > box.width ? Math.max(0, px - tip.offsetWidth - 14) : px + 14) + "px";
  tip.style.top = (py + 14) + "px";
});

/* Filters. */
for (const box of all("[data-outcome]")) box.addEventListener("change", () => {
  hidden[box.dataset.outcome] = !box.checked;
  chart.classList.toggle("hide-" + box.dataset.outcome, !box.checked);
});
for (const box of all("input[data-kind]")) box.addEventListener("change", () => {
  const kind = +box.dataset.kind;
  if (box.checked) hidden.kinds.delete(kind); else hidden.kinds.add(kind);
  for (const path of all(`path[data-k="${kind}"]`, chart)) path.style.display = box.checked ? "" : "none";
});
const filter = document.getElementById("op-filter");
if (filter) {
  const rows = all("#op-table tbody tr").map(row => ({ row, text: ("process " + row.cells[1].textContent + " " + row.textContent).toLowerCase() }));
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().trim();
    let shown = 0;
    for (const { row, text } of rows) { row.hidden = !text.includes(words); shown += !row.hidden; }
    document.getElementById("op-count").textContent = words ? `${shown} of ${rows.length}` : "";
  });
}
show(...full);
let resizing = 0;
addEventListener("resize", () => { cancelAnimationFrame(resizing); resizing = requestAnimationFrame(drawTicks); });
})();
