"use strict";
const $ = (id) => document.getElementById(id);
const state = { aligners: [], like: null, map: null, view: { x: 0, y: 0, scale: 1 }, near: null, asked: 0 };

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") made.addEventListener("click", value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function say(text, error = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", error);
}

async function ask(path, parameters, body) {
  const query = new URLSearchParams(parameters);
  const response = await fetch(`${path}?${query}`, body ? { method: "POST", body } : {});
  if (response.ok) return response;
  let reason = `${response.status} ${response.statusText}`;
  try { reason = (await response.json()).error || reason; } catch { /* no JSON: the status says it */ }
  throw new Error(reason);
}

// One question at a time counts: the answer to an older one is dropped.
async function answered(work) {
  const own = ++state.asked;
  const current = () => own === state.asked;
  say("Working …");
  document.body.setAttribute("aria-busy", "true");
  try { await work(current); } catch (error) { if (current()) say(error.message, true); } finally {
    if (current()) document.body.removeAttribute("aria-busy");
  }
}

const chosen = () => state.aligners.find((one) => one.name === $("aligner").value);
const compared = () => [$("aligner").value, $("beside").value].filter((name, place, all) => name && all.indexOf(name) === place);
const imageAddress = (aligner, id, size) =>
  `/api/image/${encodeURIComponent(aligner)}/${encodeURIComponent($("dataset").value)}/${encodeURIComponent(id)}?size=${size}`;

function options(select, names, labels = names) {
  const before = select.value;
  select.replaceChildren(...names.map((name, place) => element("option", { value: name }, labels[place])));
  if (names.includes(before)) select.value = before;
}

function aligned() {
  const one = chosen();
  options($("dataset"), one.datasets);
  const others = state.aligners.filter((other) => other.name !== one.name && other.datasets.includes($("dataset").value));
  options($("beside"), ["", ...others.map((other) => other.name)], ["nothing", ...others.map((other) => other.name)]);
  options($("dense"), ["", ...one.dense_heads], ["its own projector", ...one.dense_heads]);
  state.map = null;
}

function hitList(aligner, hits) {
  return element("ol", { class: "hits" }, ...hits.map((hit) => {
    const caption = hit.captions.join(" / ") || hit.key || hit.id;
    const picture = element("img", { src: imageAddress(aligner, hit.id, 240), alt: caption, loading: "lazy" });
    const like = element("button", { type: "button", title: "Pictures like this one", "aria-label": `Pictures like: ${caption}`, onclick: () => likeThis(hit.id) }, picture);
    return element("li", {}, like, element("div", {}, caption), element("div", { class: "score" }, hit.score.toFixed(3)));
  }));
}

function likeThis(id) {
  state.like = id;
  $("forget").hidden = false;
  location.hash = "#words";
  search();
}

function search() {
  return answered(async (current) => {
    const columns = [];
    for (const aligner of compared()) {
      const parameters = [["aligner", aligner], ["dataset", $("dataset").value]];
      for (const [name, input] of [["plus", "query"], ["plus", "plus"], ["minus", "minus"]]) {
        if ($(input).value.trim()) parameters.push([name, $(input).value]);
      }
      if (state.like) parameters.push(["like", state.like]);
      const { hits } = await (await ask("/api/search", parameters)).json();
      columns.push(element("div", {}, element("h3", {}, aligner), hitList(aligner, hits)));
    }
    if (!current()) return;
    $("results").replaceChildren(...columns);
    say(`Nearest first${state.like ? ", like the chosen picture" : ""}.`);
  });
}

function bars(list, name, value, shown) {
  return element("ol", { class: "bars" }, ...list.map((one) => element("li", {},
    element("span", {}, one[name]),
    element("meter", { min: 0, max: 1, value: Math.max(0, one[value]), "aria-label": one[name] }),
    element("span", { class: "score" }, shown(one[value])))));
}

function lookAt() {
  return answered(async (current) => {
    const file = $("file").files[0];
    if (!file) throw new Error("Choose a picture or a sound first.");
    const sound = file.type.startsWith("audio/") || /\.(ogg|oga|opus|wav|flac|mp3|aiff?)$/i.test(file.name);
    const names = $("classes").value;
    const columns = [];
    for (const aligner of compared()) {
      const where = { aligner, dataset: $("dataset").value, classes: names };
      const found = await (await ask(sound ? "/api/sound" : "/api/picture", where, file)).json();
      const parts = [element("h3", {}, aligner)];
      if (sound) parts.push(element("audio", { controls: "", src: URL.createObjectURL(file), "aria-label": "The sound" }));
      if (found.classes.length) parts.push(element("h4", {}, "Classes"), bars(found.classes.slice(0, 12), "name", "probability", (p) => `${(100 * p).toFixed(1)} %`));
      if (found.captions.length) parts.push(element("h4", {}, "Nearest captions"), bars(found.captions, "text", "score", (s) => s.toFixed(3)));
      parts.push(element("h4", {}, "Nearest pictures"), hitList(aligner, found.hits));
      if (names.includes(",") && !sound) {
        const dense = aligner === $("aligner").value ? $("dense").value : "";
        try {
          const response = await ask("/api/segment", { ...where, dense_head: dense }, file);
          const image = element("img", { class: "overlay", alt: "The picture with a colour for the class of every pixel", src: URL.createObjectURL(await response.blob()) });
          parts.push(element("h4", {}, "Regions"), image, legend(JSON.parse(response.headers.get("x-legend"))));
        } catch (error) {
          parts.push(element("h4", {}, "Regions"), element("p", {}, error.message));
        }
      }
      columns.push(element("div", {}, ...parts));
    }
    if (!current()) return;
    $("answers").replaceChildren(...columns);
    say("Done.");
  });
}

function swatch(colour) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 10 10");
  svg.setAttribute("aria-hidden", "true");
  const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [key, value] of Object.entries({ width: 10, height: 10, rx: 2, fill: colour })) square.setAttribute(key, value);
  svg.append(square);
  return svg;
}

function legend(entries) {
  return element("ul", { class: "legend" }, ...entries.map((one) =>
    element("li", {}, swatch(one.colour), one.share === undefined ? one.name : `${one.name}, ${(100 * one.share).toFixed(0)} %`)));
}

// ---- the map

const SPLITS = { train: "#3778bf", validation: "#c77f1a", test: "#2e9960", "": "#8a949e" };

function pointColour(point) {
  const by = $("colour").value;
  if (by === "split") return SPLITS[point.split] || SPLITS[""];
  if (by === "kept") return point.kept.includes($("curation").value) ? "#2e9960" : "#b9442f";
  const share = (point.cosine - state.map.low) / (state.map.high - state.map.low || 1);
  return `hsl(${Math.round(10 + 200 * share)} 65% 48%)`;
}

function mapLegend() {
  const by = $("colour").value;
  const entries = by === "split" ? ["train", "validation", "test"].map((name) => ({ name, colour: SPLITS[name] }))
    : by === "kept" ? [{ name: "kept", colour: "#2e9960" }, { name: "left out", colour: "#b9442f" }]
      : [{ name: `cosine ${state.map.low.toFixed(2)}`, colour: "hsl(10 65% 48%)" }, { name: state.map.high.toFixed(2), colour: "hsl(210 65% 48%)" }];
  $("legend").replaceWith(Object.assign(legend([...entries, { name: "caption (small)", colour: "#8a949e" }]), { id: "legend" }));
}

function place([x, y]) {
  const canvas = $("canvas"), size = Math.min(canvas.width, canvas.height) * 0.47 * state.view.scale;
  return [canvas.width / 2 + (x - state.view.x) * size, canvas.height / 2 - (y - state.view.y) * size];
}

function draw() {
  const canvas = $("canvas"), ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
  if (!width || !state.map) return;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d"), wanted = $("find").value.trim().toLowerCase();
  const soft = getComputedStyle(document.body).getPropertyValue("--soft");
  pen.clearRect(0, 0, width, height);
  const fits = (point) => !wanted || point.family.toLowerCase().includes(wanted) || point.caption.toLowerCase().includes(wanted);
  for (const point of state.map.points) {
    const [x, y] = place(point.image), [tx, ty] = place(point.text), near = point === state.near;
    pen.globalAlpha = fits(point) ? (near ? 1 : 0.75) : 0.06;
    pen.strokeStyle = pen.fillStyle = pointColour(point);
    if ($("lines").checked || near) {
      pen.lineWidth = near ? 2 * ratio : 0.4 * ratio;
      pen.beginPath(); pen.moveTo(x, y); pen.lineTo(tx, ty); pen.stroke();
    }
    pen.beginPath(); pen.arc(x, y, (near ? 7 : 3.5) * ratio, 0, 7); pen.fill();
    pen.fillStyle = soft;
    pen.beginPath(); pen.arc(tx, ty, (near ? 4 : 1.6) * ratio, 0, 7); pen.fill();
  }
  pen.globalAlpha = 1;
}

function nearest(event) {
  const canvas = $("canvas"), ratio = canvas.width / canvas.clientWidth, box = canvas.getBoundingClientRect();
  const x = (event.clientX - box.left) * ratio, y = (event.clientY - box.top) * ratio;
  let best = null, least = (24 * ratio) ** 2;
  for (const point of state.map ? state.map.points : []) {
    for (const end of [point.image, point.text]) {
      const [px, py] = place(end), distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [best, least] = [point, distance];
    }
  }
  return best;
}

function show(point) {
  if (!point || point === state.near) return;
  state.near = point;
  const picture = element("img", { src: imageAddress($("aligner").value, point.id, 240), alt: point.caption });
  $("about").replaceChildren(picture, element("p", {}, element("strong", {}, point.caption)),
    element("p", {}, `family ${point.family || "unknown"}, ${point.split || "no split"}, cosine ${point.cosine.toFixed(3)}`),
    element("button", { type: "button", onclick: () => likeThis(point.id) }, "Pictures like this"));
  draw();
}

function loadMap() {
  return answered(async (current) => {
    const map = await (await ask("/api/map", { aligner: $("aligner").value, dataset: $("dataset").value })).json();
    if (!current()) return;
    const cosines = map.points.map((point) => point.cosine);
    state.map = { ...map, low: Math.min(...cosines), high: Math.max(...cosines) };
    state.near = null;
    options($("curation"), map.curations);
    $("plane").textContent = map.plane === "pacmap" ? "laid out by PaCMAP, which keeps neighbours" : "on the two principal axes of the aligner's space";
    const far = [...map.points].sort((a, b) => a.cosine - b.cosine).slice(0, 12);
    $("farthest").replaceChildren(...hitList($("aligner").value, far.map((point) => ({ id: point.id, captions: [point.caption], key: "", score: point.cosine }))).children);
    mapLegend();
    draw();
    say(map.points.length ? `${map.points.length} pairs.` : "Fewer than three pairs with an English caption: no map.");
  });
}

function zoom(factor) { state.view.scale = Math.min(60, Math.max(0.5, state.view.scale * factor)); draw(); }
function move(dx, dy) { state.view.x += dx / state.view.scale; state.view.y += dy / state.view.scale; draw(); }

function mapEvents() {
  const canvas = $("canvas");
  let held = null;
  canvas.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); show(nearest(event)); });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) { show(nearest(event)); return; }
    const unit = Math.min(canvas.clientWidth, canvas.clientHeight) * 0.47;
    move(-(event.clientX - held[0]) / unit, (event.clientY - held[1]) / unit);
    held = [event.clientX, event.clientY];
  });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2); }, { passive: false });
  const keys = { ArrowLeft: () => move(-0.1, 0), ArrowRight: () => move(0.1, 0), ArrowUp: () => move(0, 0.1), ArrowDown: () => move(0, -0.1), "+": () => zoom(1.2), "-": () => zoom(1 / 1.2) };
  canvas.addEventListener("keydown", (event) => { if (keys[event.key]) { event.preventDefault(); keys[event.key](); } });
  $("reset").addEventListener("click", () => { state.view = { x: 0, y: 0, scale: 1 }; draw(); });
  for (const id of ["find", "lines", "curation"]) $(id).addEventListener("input", draw);
  $("colour").addEventListener("input", () => { $("curation-label").hidden = $("colour").value !== "kept"; mapLegend(); draw(); });
  new ResizeObserver(draw).observe(canvas);
}

function turn() {
  const name = ["words", "picture", "map"].includes(location.hash.slice(1)) ? location.hash.slice(1) : "words";
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  if (name === "map" && !state.map) loadMap(); else draw();
}

async function start() {
  const { aligners } = await (await ask("/api/project", {})).json();
  state.aligners = aligners;
  options($("aligner"), aligners.map((one) => one.name));
  aligned();
  const again = () => { if (location.hash === "#map") loadMap(); };
  $("aligner").addEventListener("change", () => { aligned(); again(); });
  $("dataset").addEventListener("change", () => { aligned(); state.like = null; again(); });
  $("search").addEventListener("submit", (event) => { event.preventDefault(); search(); });
  $("forget").addEventListener("click", () => { state.like = null; $("forget").hidden = true; search(); });
  $("upload").addEventListener("submit", (event) => { event.preventDefault(); lookAt(); });
  const drop = $("drop");
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.toggle("over", kind === "dragover"); });
  }
  drop.addEventListener("drop", (event) => { $("file").files = event.dataTransfer.files; lookAt(); });
  mapEvents();
  window.addEventListener("hashchange", turn);
  turn();
  if (!state.map) say("Ready.");
}

start().catch((error) => say(error.message, true));
