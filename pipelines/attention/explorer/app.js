// State, controls, and what follows from them. The state lives in the address, so that a view can be sent to somebody.
const PHASES = { before: "before", after: "after", compare: "compare", unmasked: "no mask" };
const KEYS = { view: "view", layer: "layer", head: "head", phase: "phase", colour: "colour", order: "order", units: "rows", derived: "values" };
const byId = (id) => document.getElementById(id);
let page = null, state = null, panels = [], drawings = [];

const viewOf = () => page.views[state.view];
const phasesOf = (view) => Object.keys(PHASES).filter((name) => (name === "compare" ? view.phases.after : view.phases[name]));

function firstState(view = 0) {
  const { shown, layers, heads } = page.views[view];
  return { view, layer: Math.max(layers.indexOf(shown[0]), 0), head: Math.max(heads.indexOf(shown[1]), 0), phase: "before", colour: "same_class_past_first", order: "model", units: "tokens", derived: "raw" };
}

// What the address says, as far as it makes sense; anything else keeps its default.
function readAddress() {
  const told = new URLSearchParams(location.hash.slice(1)), number = (key) => (/^\d+$/.test(told.get(key) || "") ? Number(told.get(key)) : -1);
  const view = page.views[number("view") - 1] ? number("view") - 1 : 0, found = firstState(view), chosen = page.views[view];
  if (chosen.layers.includes(number("layer"))) found.layer = chosen.layers.indexOf(number("layer"));
  if (chosen.heads.includes(number("head"))) found.head = chosen.heads.indexOf(number("head"));
  const allowed = { phase: phasesOf(chosen), colour: scoreChoices(chosen).map((one) => one.key), order: ["model", "score"], units: ["tokens", "symbols"], derived: derivations(chosen) };
  for (const [name, values] of Object.entries(allowed)) {
    if (values.includes(told.get(KEYS[name]))) found[name] = told.get(KEYS[name]);
  }
  if (!allowed.colour.includes(found.colour)) [found.colour] = allowed.colour;
  if (!chosen.merges) found.units = "tokens";
  return found;
}

function writeAddress() {
  const view = viewOf(), plain = firstState(state.view), told = new URLSearchParams();
  told.set("view", state.view + 1);
  told.set("layer", view.layers[state.layer]);
  told.set("head", view.heads[state.head]);
  for (const name of ["phase", "colour", "order", "units", "derived"]) if (state[name] !== plain[name]) told.set(KEYS[name], state[name]);
  if (location.hash.slice(1) === told.toString()) return;
  try { history.pushState(null, "", `#${told}`); } catch { /* a frame without an address of its own */ }
}

const derivations = (view) => ["raw", "nosink", ...(view.phases.before.norms ? ["norm"] : [])];

function change(next) {
  Object.assign(state, next);
  if (!phasesOf(viewOf()).includes(state.phase)) state.phase = "before";
  writeAddress();
  draw();
}
function choose(place) {
  const columns = viewOf().heads.length;
  change({ layer: Math.floor(place / columns), head: place % columns });
}

function matrixOf(phase) {
  const view = viewOf();
  let matrix = derive(readHead(view, phase, state.layer, state.head), state.derived);
  if (state.units === "symbols") matrix = mergeTokens(view, matrix);
  return matrix;
}

function tabs(box, choices, current, pick) {
  box.replaceChildren(...choices.map(([key, title]) => html("button", { type: "button", "aria-pressed": String(key === current), "data-key": key, onclick: () => pick(key) }, title)));
}

function options(select, choices, current) {
  select.replaceChildren(...choices.map(([key, title]) => html("option", { value: key, selected: key === current }, title)));
}

function draw() {
  const view = viewOf(), focused = document.activeElement && document.activeElement.dataset.key, box = document.activeElement && document.activeElement.parentElement;
  drawHeader(view);
  options(byId("colour"), scoreChoices(view).map((one) => [one.key, one.title]), state.colour);
  byId("order").value = state.order;
  drawOverview(view, state, choose);
  drawHead(view);
  drawSteps(view);
  drawScores(view, state);
  drawSketch(view, state, choose);
  if (focused && box) { const again = box.querySelector(`[data-key="${CSS.escape(focused)}"]`); if (again) again.focus(); }
}

function drawHeader(view) {
  const info = view.info, model = info.model || {}, name = typeof model === "string" ? model : model.name || "";
  byId("subtitle").textContent = [name, info.architecture, `${view.layers.length} layers × ${view.heads.length} heads`].filter(Boolean).join(" · ");
  byId("views").hidden = page.views.length < 2;
  tabs(byId("views"), page.views.map((one, index) => [String(index), one.title]), String(state.view), (key) => { state = { ...firstState(Number(key)), phase: state.phase, colour: state.colour, order: state.order }; change({}); });
  byId("tokens").replaceChildren(...view.tokens.map((token, place) => html("li", { class: place < view.prefix ? "prefix" : "", title: place < view.prefix ? "prefix" : "" }, html("b", {}, short(readable(token), 24)), html("small", {}, `id ${view.ids[place]}`))));
  const size = view.tokens.length, checks = view.phases.before.checks, heads = view.layers.length * view.heads.length;
  byId("answer").textContent = `A token sees itself and what came before it. So all ${(size * (size - 1)) / 2} weights above the diagonal must be 0, in every head, and in all ${heads} heads here they are: exactly.`;
  const told = [`largest weight on a later token ${checks.future_max}`, `rows sum to 1 within ${Number(checks.row_sum_error).toExponential(0)}${view.phases.before.sink ? ", the learned sink’s share included" : ""}`];
  if (checks.eager_logit_difference !== undefined) told.push(`logits within ${Number(checks.eager_logit_difference).toExponential(0)} of the model’s own implementation`);
  if (checks.recomputed_difference !== undefined) told.push(`weights within ${Number(checks.recomputed_difference).toExponential(0)} of softmax of its own queries and keys`);
  byId("proof").textContent = `Checked when measured: ${told.join("; ")}.`;
}

function drawHead(view) {
  const layer = view.layers[state.layer], head = view.heads[state.head], groups = view.info.key_value_heads, all = view.info.query_heads;
  byId("head-title").textContent = `Layer ${layer}, head ${head}`;
  const notes = [];
  if (groups && all && groups < all) notes.push(`one of ${all / groups} query heads on key–value head ${Math.floor(head / (all / groups))}`);
  if (view.masks[state.layer]) notes.push("sliding window: older tokens are hidden as well");
  if (layer === view.shown[0] && head === view.shown[1]) notes.push("opened first because it puts the most weight on earlier symbols of the same class, the first token left out");
  if (view.phases.before.step) notes.push(`weights on this page are rounded to ${view.phases.before.step.toExponential(0)}`);
  byId("head-note").textContent = notes.length ? `${notes.join("; ")}.`.replace(/^./, (letter) => letter.toUpperCase()) : "";
  tabs(byId("phases"), phasesOf(view).map((name) => [name, PHASES[name]]), state.phase, (phase) => change({ phase }));
  byId("phases").hidden = phasesOf(view).length < 2;
  byId("units-box").hidden = !view.merges;
  byId("units").value = state.units;
  for (const option of byId("derived").options) option.hidden = option.disabled = !derivations(view).includes(option.value);
  byId("derived").value = state.derived;
  byId("derived-note").hidden = state.derived === "raw";
  byId("derived-note").textContent = "Derived, not raw attention: rows are divided by what is left of them.";
  const names = state.phase === "compare" ? ["before", "after"] : [state.phase];
  panels = names.map((name) => ({ name, title: PHASES[name], matrix: matrixOf(name), scale: "weights" }));
  if (state.phase === "compare") panels.push({ name: "difference", title: "", matrix: difference(panels[0].matrix, panels[1].matrix), scale: "difference" });
  document.querySelector("main").classList.toggle("compare", state.phase === "compare");
  if (state.phase === "compare") {
    const range = Math.max(...panels[2].matrix.values.flat().map((value) => Math.abs(value) || 0)) || 1;
    panels[2].matrix.range = range;
    panels[2].title = `after − before, full colour at ±${range.toPrecision(2)}`;
  }
  const lines = panels.filter((panel) => panel.scale === "weights").map((panel) => ({ title: panel.title, root: drawLines(panel.matrix, { title: `Lines from each token to those it looks at, ${panel.title}`, onRow: (row) => point(row, null) }) }));
  drawings = panels.map((panel) => ({ ...panel, root: drawMatrix(panel.matrix, { scale: panel.scale, cell: panels.length > 1 ? Math.min(cellSize(panel.matrix.size), 46) : undefined, title: `${panel.title}: weights of layer ${layer}, head ${head}; the table after it holds the numbers`, hiddenText: "0", onCell: point }) }));
  byId("matrices").replaceChildren(...drawings.map((drawing) => html("figure", {}, panels.length > 1 ? html("h3", {}, drawing.title) : null, scrolling(drawing.root), numbersTable(drawing))));
  byId("lines").replaceChildren(...lines.map(({ title, root }) => html("figure", {}, lines.length > 1 ? html("h3", {}, title) : null, root)));
  point.lines = lines.map(({ root }) => root);
  point(null, null);
}

// Wide drawings scroll in a box of their own, by keyboard as well.
const scrolling = (root) => html("div", { class: "wide", tabindex: 0, role: "group", "aria-label": root.getAttribute("aria-label") }, root);

// For those who listen: the numbers of a short sequence as a table.
function numbersTable({ matrix, title }) {
  if (matrix.size > NUMBERS_UP_TO) return null;
  const rows = matrix.labels.map((label, i) => html("tr", {}, html("th", { scope: "row" }, label), ...matrix.values[i].map((value, j) => html("td", {}, matrix.shown[i][j] ? number(value, 4) : "0, hidden"))));
  return html("div", { class: "visually-hidden" }, html("table", {}, html("caption", {}, title), html("thead", {}, html("tr", {}, html("th", {}, "query"), ...matrix.labels.map((label) => html("th", { scope: "col" }, label)))), html("tbody", {}, ...rows)));
}

function point(i, j) {
  for (const { root } of drawings) root.highlight(i, j);
  for (const root of point.lines) root.highlight(i, i === null ? null : j);
  const first = panels[0].matrix;
  if (i === null) byId("cell").textContent = "Rows look, columns are looked at. Hatched 0: hidden by the mask, exactly 0. 0.00: seen, and small.";
  else if (j === null) byId("cell").textContent = `${first.labels[i]} (token ${i + 1}): point at a cell for its exact weight`;
  else if (!first.shown[i][j] && state.derived !== "nosink") byId("cell").textContent = `${first.labels[i]} → ${first.labels[j]}: exactly 0, hidden by the mask`;
  else byId("cell").textContent = `${first.labels[i]} → ${first.labels[j]}: ${panels.map(({ title, matrix, scale }) => `${panels.length > 1 ? `${scale === "difference" ? "difference" : title} ` : ""}${scale === "difference" ? signed(matrix.values[i][j], 6) : number(matrix.values[i][j], 6)}`).join(", ")}`;
}

function drawSteps(view) {
  const nomask = byId("nomask").checked, phase = state.phase === "after" || state.phase === "compare" ? "after" : "before";
  const source = nomask ? "unmasked" : view.phases[phase] && view.phases[phase].logits ? phase : "before", found = view.phases[source];
  byId("steps").hidden = !found || !found.logits || view.tokens.length > NUMBERS_UP_TO;
  byId("nomask").parentElement.hidden = !view.phases.unmasked;
  if (byId("steps").hidden) return;
  const logits = readHead(view, source, state.layer, state.head, "logits"), weights = readHead(view, source, state.layer, state.head);
  const all = logits.values.flat(), scale = { low: Math.min(...all), high: Math.max(...all) }, cell = logits.size <= 5 ? 44 : 36;
  const open = { ...logits, shown: square(logits.size, () => true), sink: null };
  const steps = [
    ["query · key, scaled", drawMatrix(open, { scale, cell, title: "Scores before the mask" })],
    [nomask ? "no mask" : "after the mask", drawMatrix({ ...logits, sink: null }, { scale, cell, title: "Scores after the mask", hiddenText: "−∞" })],
    [nomask ? "softmax of every score: tokens see the future" : "softmax", drawMatrix(weights, { cell, title: "Weights" })],
  ];
  byId("step-matrices").replaceChildren(...steps.map(([title, root]) => html("figure", {}, html("h3", {}, title), scrolling(root))));
}

function exportHead(kind) {
  const view = viewOf(), layer = view.layers[state.layer], head = view.heads[state.head], name = `attention-layer${layer}-head${head}-${state.phase}`;
  const caption = `Layer ${layer}, head ${head}${state.derived === "raw" ? "" : " (derived)"}: ${view.symbols.map(readable).join(" ").slice(0, 60)}`;
  const provenance = { layer, head, values: state.derived, rows: state.units, tokens: view.tokens, ids: view.ids, prefix_tokens: view.prefix };
  const phases = panels.map((panel) => ({ phase: panel.name, weights: panel.matrix.values, visible: panel.matrix.shown, sink: panel.matrix.sink, ...(view.phases[panel.name] ? { info: view.phases[panel.name].info, checks: view.phases[panel.name].checks, rounded_to: view.phases[panel.name].step } : {}) }));
  if (kind === "svg") download(`${name}.svg`, "image/svg+xml", serialise(composeSvg(drawings, caption)));
  if (kind === "png") toPng(composeSvg(drawings, caption)).then((blob) => download(`${name}.png`, "image/png", blob));
  if (kind === "json") download(`${name}.json`, "application/json", JSON.stringify({ ...provenance, phases }, null, 1));
  if (kind === "csv") download(`${name}.csv`, "text/csv", toCsv(panels));
}

async function start() {
  const payload = JSON.parse(byId("payload").textContent);
  page = unpack(payload, await inflate(payload.block));
  state = readAddress();
  for (const [id, name] of [["colour", "colour"], ["order", "order"], ["units", "units"], ["derived", "derived"]]) byId(id).addEventListener("change", (event) => change({ [name]: event.target.value }));
  for (const kind of ["svg", "png", "json", "csv"]) byId(`export-${kind}`).addEventListener("click", () => exportHead(kind));
  byId("nomask").addEventListener("change", draw);
  for (const event of ["hashchange", "popstate"]) window.addEventListener(event, () => { state = readAddress(); draw(); });
  darkQuery.addEventListener("change", draw);
  window.addEventListener("beforeprint", () => { printing = true; draw(); });
  window.addEventListener("afterprint", () => { printing = false; draw(); });
  const info = viewOf().info, model = info.model || {};
  byId("provenance").textContent = [typeof model === "object" && model.sha256 ? `weights SHA-256 ${model.sha256}` : "", model.revision ? `revision ${model.revision}` : "", `${info.dtype || ""}`, info.transformers ? `transformers ${info.transformers}` : "", "the numbers of every head are in the files beside this page"].filter(Boolean).join(" · ");
  draw();
  document.documentElement.dataset.ready = "true";
}
start();
