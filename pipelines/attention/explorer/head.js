// The chosen head: its matrices, their lines, the steps that made them, and what a pointed cell says.
let panels = [], drawings = [], cursor = null;

function matrixOf(phase) {
  const view = viewOf();
  let matrix = derive(readHead(view, phase, state.layer, state.head), state.derived);
  if (state.units === "symbols") matrix = mergeTokens(view, matrix);
  return matrix;
}

function drawHead(view) {
  const layer = view.layers[state.layer], head = view.heads[state.head], groups = view.info.key_value_heads, all = view.info.query_heads;
  byId("head-title").textContent = `Layer ${layer}, head ${head}`;
  const notes = [];
  if (groups && all && groups < all) notes.push(`one of ${all / groups} query heads on key–value head ${Math.floor(head / (all / groups))}`);
  if (view.masks[state.layer]) notes.push("sliding window: older tokens are hidden as well");
  if (view.rule && layer === view.shown[0] && head === view.shown[1]) notes.push(`opened first by this rule: ${view.rule}`);
  if (view.phases.before.step) notes.push(`weights on this page are rounded to ${view.phases.before.step.toExponential(0)}`);
  byId("head-note").textContent = notes.length ? `${notes.join("; ")}.`.replace(/^./, (letter) => letter.toUpperCase()) : "";
  tabs(byId("phases"), phasesOf(view).map((name) => [name, titleOf(view, name)]), state.phase, (phase) => change({ phase }));
  byId("phases").hidden = phasesOf(view).length < 2;
  byId("units-box").hidden = !view.merges;
  byId("units").value = state.units;
  for (const option of byId("derived").options) option.hidden = option.disabled = !derivations(view).includes(option.value);
  byId("derived").value = state.derived;
  byId("derived-note").hidden = state.derived === "raw";
  byId("derived-note").textContent = `Derived, not raw attention: rows are divided by what is left of them.${state.derived === "nosink" ? " “–”: the first token, left out. “n/a”: nothing is left of the row." : ""}`;
  const names = state.phase === "compare" ? ["before", "after"] : [state.phase];
  panels = names.map((name) => ({ name, title: titleOf(view, name), matrix: matrixOf(name), scale: "weights" }));
  document.querySelector("main").classList.toggle("compare", state.phase === "compare");
  if (state.phase === "compare") panels.push(differencePanel(view));
  const lines = panels.filter((panel) => panel.scale === "weights").map((panel) => ({ title: panel.title, root: drawLines(panel.matrix, { title: `Lines from each token to those it looks at, ${panel.title}`, onRow: (row) => point(row, null) }) }));
  const most = panels.length > 1 ? Math.min(cellSize(panels[0].matrix.size), 46) : cellSize(panels[0].matrix.size);
  const cell = (panels[0].matrix.size <= NUMBERS_UP_TO && fittingCell(panels.length, panels[0].matrix, byId("matrices").clientWidth, most)) || most;
  drawings = panels.map((panel) => ({ ...panel, root: drawMatrix(panel.matrix, { scale: panel.scale, cell, title: `${panel.title}: weights of layer ${layer}, head ${head}`, onCell: pointAt }) }));
  byId("matrices").replaceChildren(...drawings.map((drawing) => titled(panels.length > 1 ? drawing.title : null, drawing.root, walkable, numbersTable(drawing))));
  byId("lines").replaceChildren(...lines.map(({ title, root }) => html("figure", {}, lines.length > 1 ? html("h3", {}, title) : null, root)));
  point.lines = lines.map(({ root }) => root);
  cursor = null;
  point(null, null);
}

// On one scale for all heads: the largest change of any raw weight, or ±1 where values are derived.
function differencePanel(view) {
  const matrix = difference(panels[0].matrix, panels[1].matrix), raw = state.derived === "raw";
  matrix.range = raw ? largestChange(view) : 1;
  const scale = raw ? `full colour at ±${significant(matrix.range)}, the largest change of any head` : "full colour at ±1";
  return { name: "difference", title: `after − before; ${scale}`, matrix, scale: "difference" };
}

// A title is no wider than its drawing, or the next one would not stand beside it.
function titled(title, root, boxed, ...more) {
  const heading = title === null ? null : html("h3", {}, title);
  if (heading) heading.style.maxWidth = `${root.getAttribute("width")}px`;
  return html("figure", {}, heading, boxed(root), ...more);
}

// Wide drawings scroll in a box of their own, by keyboard as well.
const scrolling = (root) => html("div", { class: "wide", tabindex: 0, role: "group", "aria-label": root.getAttribute("aria-label") }, root);

// Arrow keys move a cell cursor; what it stands on is told below, aloud for those who listen.
function walkable(root) {
  const label = `${root.getAttribute("aria-label")}. Arrow keys move from cell to cell`;
  const box = html("div", { class: "wide walkable", tabindex: 0, role: "application", "aria-label": label }, root);
  box.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity] }[event.key];
    if (event.key === "Escape") pointAt(null, null);
    if (!move) return;
    event.preventDefault();
    const last = panels[0].matrix.size - 1, [i, j] = cursor || [0, 0], within = (place) => Math.min(Math.max(place, 0), last);
    pointAt(...(cursor ? [within(i + move[0]), within(j + move[1])] : [0, 0]));
  });
  return box;
}
function pointAt(i, j) {
  cursor = i === null || j === null ? null : [i, j];
  point(i, j);
}

// For those who listen: the numbers of a short sequence as a table.
function numbersTable({ matrix, title }) {
  if (matrix.size > NUMBERS_UP_TO) return null;
  const words = { masked: "0, hidden", "left out": "left out", undefined: "n/a" };
  const rows = matrix.labels.map((label, i) => html("tr", {}, html("th", { scope: "row" }, label), ...matrix.values[i].map((value, j) => html("td", {}, words[matrix.kinds[i][j]] || number(value, 4)))));
  return html("div", { class: "visually-hidden" }, html("table", {}, html("caption", {}, title), html("thead", {}, html("tr", {}, html("th", {}, "query"), ...matrix.labels.map((label) => html("th", { scope: "col" }, label)))), html("tbody", {}, ...rows)));
}

function point(i, j) {
  for (const { root } of drawings) root.highlight(i, j);
  for (const root of point.lines) root.highlight(i, i === null ? null : j);
  const first = panels[0].matrix, name = (place) => `${first.labels[place]}${first.size > NUMBERS_UP_TO ? ` (token ${place + 1})` : ""}`;
  if (i === null) byId("cell").textContent = "Rows look, columns are looked at. Hatched 0: hidden by the mask, exactly 0. 0.00: seen, and small.";
  else if (j === null) byId("cell").textContent = `${first.labels[i]} (token ${i + 1}): point at a cell for its exact weight`;
  else {
    const words = { masked: "exactly 0, hidden by the mask", "left out": "left out of this view", undefined: "n/a, nothing is left of this row" };
    const told = panels.map(({ title, matrix, scale }) => `${panels.length > 1 ? `${scale === "difference" ? "difference" : title} ` : ""}${scale === "difference" ? signed(matrix.values[i][j], 6) : number(matrix.values[i][j], 6)}`);
    byId("cell").textContent = `${name(i)} → ${name(j)}: ${words[first.kinds[i][j]] || told.join(", ")}`;
  }
}

// The steps of the phase that is shown; of a comparison, those after training. Said so wherever there are two.
function drawSteps(view) {
  const nomask = state.phase === "unmasked" || byId("nomask").checked, phase = state.phase === "after" || state.phase === "compare" ? "after" : "before";
  const source = nomask ? "unmasked" : phase, found = view.phases[source];
  byId("steps").hidden = !(found && found.logits) && !(view.phases[phase] && view.phases[phase].logits);
  byId("nomask").parentElement.hidden = !view.phases.unmasked || state.phase === "unmasked";
  if (byId("steps").hidden || !found || !found.logits) { byId("steps").hidden = true; return; }
  const training = view.phases.after ? (source === "after" ? "after training" : "before training") : "";
  byId("steps-phase").textContent = [training, nomask ? "without a mask, which no autoregressive model runs" : ""].filter(Boolean).join(", ").replace(/^./, (letter) => letter.toUpperCase());
  byId("steps-phase").hidden = !byId("steps-phase").textContent;
  const logits = readHead(view, source, state.layer, state.head, "logits"), weights = readHead(view, source, state.layer, state.head);
  const all = logits.values.flat(), scale = { low: Math.min(...all), high: Math.max(...all) }, cell = fittingCell(3, logits, byId("step-matrices").clientWidth, 44) || (logits.size <= 7 ? 44 : 38);
  const open = { ...logits, kinds: square(logits.size, () => "weight"), sink: null };
  const steps = [
    ["query · key, scaled", drawMatrix(open, { scale, cell, title: "Scores before the mask" })],
    [nomask ? "no mask" : "after the mask", drawMatrix({ ...logits, sink: null }, { scale, cell, title: "Scores after the mask", hiddenText: "−∞" })],
    [nomask ? "softmax: tokens see the future" : "softmax", drawMatrix(weights, { cell, title: "Weights" })],
  ];
  byId("step-matrices").replaceChildren(...steps.map(([title, root]) => titled(title, root, scrolling)));
}

function exportHead(kind) {
  const view = viewOf(), layer = view.layers[state.layer], head = view.heads[state.head], name = `attention-layer${layer}-head${head}-${state.phase}`;
  const caption = `Layer ${layer}, head ${head}${state.derived === "raw" ? "" : " (derived)"}: ${view.symbols.map(readable).join(" ").slice(0, 60)}`;
  const provenance = { layer, head, values: state.derived, rows: state.units, tokens: view.tokens, ids: view.ids, prefix_tokens: view.prefix };
  const phases = panels.map((panel) => ({ phase: panel.name, weights: panel.matrix.values, visible: panel.matrix.shown, cells: panel.matrix.kinds, sink: panel.matrix.sink, ...(view.phases[panel.name] ? { info: view.phases[panel.name].info, checks: view.phases[panel.name].checks, rounded_to: view.phases[panel.name].step } : {}) }));
  if (kind === "svg") download(`${name}.svg`, "image/svg+xml", serialise(composeSvg(drawings, caption)));
  if (kind === "png") toPng(composeSvg(drawings, caption)).then((blob) => download(`${name}.png`, "image/png", blob));
  if (kind === "json") download(`${name}.json`, "application/json", JSON.stringify({ ...provenance, phases }, null, 1));
  if (kind === "csv") download(`${name}.csv`, "text/csv", toCsv(panels));
}
