// State, controls, and what follows from them. The state lives in the address, so that a view can be sent to somebody.
const PHASES = { before: "before", after: "after", compare: "compare", unmasked: "no mask" };
const titleOf = (view, phase) => (phase === "before" && !view.phases.after ? "with mask" : PHASES[phase]);
const KEYS = { view: "view", layer: "layer", head: "head", phase: "phase", colour: "colour", order: "order", units: "rows", derived: "values" };
const byId = (id) => document.getElementById(id);
let page = null, state = null;

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

// A walk with the arrow keys is one step of the history, not one for every head on the way.
function writeAddress(replace) {
  const view = viewOf(), plain = firstState(state.view), told = new URLSearchParams();
  told.set("view", state.view + 1);
  told.set("layer", view.layers[state.layer]);
  told.set("head", view.heads[state.head]);
  for (const name of ["phase", "colour", "order", "units", "derived"]) if (state[name] !== plain[name]) told.set(KEYS[name], state[name]);
  if (location.hash.slice(1) === told.toString()) return;
  try { history[replace ? "replaceState" : "pushState"](null, "", `#${told}`); } catch { /* a frame without an address of its own */ }
}

const derivations = (view) => ["raw", "nosink", ...(view.phases.before.norms ? ["norm"] : [])];

function change(next, replace = false) {
  Object.assign(state, next);
  if (!phasesOf(viewOf()).includes(state.phase)) state.phase = "before";
  writeAddress(replace);
  draw();
}
function choose(place, replace = false) {
  const columns = viewOf().heads.length;
  change({ layer: Math.floor(place / columns), head: place % columns }, replace);
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
  drawEvidence(page, view, state, choose);
  drawSketch(view, state, choose);
  if (focused && box) { const again = box.querySelector(`[data-key="${CSS.escape(focused)}"]`); if (again) again.focus(); }
}

function drawHeader(view) {
  const info = view.info, prefix = info.prefix && info.prefix !== "none" ? `prefix ${info.prefix}, ${view.prefix} tokens` : "no prefix";
  byId("subtitle").textContent = [modelName(info), info.architecture, `${view.layers.length} layers × ${view.heads.length} heads`, prefix].filter(Boolean).join(" · ");
  byId("views").hidden = page.views.length < 2;
  tabs(byId("views"), page.views.map((one, index) => [String(index), one.title]), String(state.view), (key) => { state = { ...firstState(Number(key)), phase: state.phase, colour: state.colour, order: state.order }; change({}); });
  byId("tokens").replaceChildren(...view.tokens.map((token, place) => html("li", { class: place < view.prefix ? "prefix" : "", title: place < view.prefix ? "prefix" : "" }, html("b", {}, short(readable(token), 24)), html("small", {}, `id ${view.ids[place]}`))));
  const running = info.text_tokens || [], shown = running.slice(0, 16).map((token) => readable(token));
  byId("running").hidden = !running.length;
  byId("running").textContent = `As running text: ${running.length} ${running.length === 1 ? "token" : "tokens"} (${shown.join(" · ")}${running.length > 16 ? " …" : ""}).${page.views.length > 1 ? "" : " This page shows one split only."}`;
  const size = view.tokens.length, checks = view.phases.before.checks, heads = view.layers.length * view.heads.length;
  byId("answer").textContent = `A token sees itself and what came before it. So all ${(size * (size - 1)) / 2} weights above the diagonal must be 0, in every head, and in all ${heads} heads here they are: exactly.`;
  const told = [`largest weight on a later token ${checks.future_max}`, `rows sum to 1 within ${Number(checks.row_sum_error).toExponential(0)}${view.phases.before.sink ? ", the learned sink’s share, computed from its parameter, included" : ""}`];
  if (checks.eager_logit_difference !== undefined) told.push(`logits within ${Number(checks.eager_logit_difference).toExponential(0)} of the model’s own implementation`);
  if (checks.recomputed_difference !== undefined) told.push(`weights within ${Number(checks.recomputed_difference).toExponential(0)} of softmax of its own queries and keys`);
  byId("proof").textContent = `Checked when measured: ${told.join("; ")}.`;
  drawProvenance(view);
}

function modelName(info) {
  const model = info.model || {};
  return readable(typeof model === "string" ? model : model.name || "").replaceAll("␣", " ").replace("∅", "");
}

// What was run, so that somebody else can run it again.
function drawProvenance(view) {
  const info = view.info, model = typeof info.model === "object" && info.model ? info.model : {}, after = view.phases.after ? view.phases.after.info : {};
  const adapter = typeof after.adapter === "object" ? after.adapter : after.adapter ? { name: after.adapter } : null;
  const named = (title, name, ...more) => `${title} ${[name, ...more].filter(Boolean).join(", ")}`;
  const lines = [
    info.model && named("Model", modelName(info), model.revision && `revision ${model.revision}`, info.commit && `commit ${info.commit}`, model.sha256 && `weights SHA-256 ${model.sha256}`),
    adapter && named("Adapter", readable(adapter.name), adapter.sha256 && `weights SHA-256 ${adapter.sha256}`),
    `Prefix ${info.prefix || "none"}; ${info.split === "text" ? "the tokenizer’s own split" : "each symbol one token"}${info.text_tokens ? `; as running text ${info.text_tokens.length} tokens` : ""}`,
    ["Computed in", info.dtype, info.transformers && `by transformers ${info.transformers}`, info.own_attention && `checked against ${info.own_attention} attention`].filter(Boolean).join(" "),
    "The numbers of every head are in the files beside this page.",
  ];
  byId("provenance").replaceChildren(...lines.filter(Boolean).map((line) => html("li", {}, line)));
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
  let width = window.innerWidth, waiting = null;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; clearTimeout(waiting); waiting = setTimeout(draw, 150); } });
  draw();
  document.documentElement.dataset.ready = "true";
}
start();
