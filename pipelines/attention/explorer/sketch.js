// The reader's own matrix over the symbols: zeros and row sums checked in words, and the nearest real heads.
const SKETCH_TOLERANCE = 0.011; // two decimals a number, as people write them

function drawSketch(view, state, choose) {
  const labels = view.symbols.map(readable), size = labels.length, table = document.getElementById("sketch");
  const section = table.closest("section");
  section.hidden = size > NUMBERS_UP_TO;
  if (section.hidden) return;
  if (table.dataset.view !== String(state.view)) {
    table.dataset.view = String(state.view);
    document.getElementById("sketch-verdict").replaceChildren();
    table.replaceChildren(
      html("thead", {}, html("tr", {}, html("th", {}), ...labels.map((label) => html("th", { scope: "col" }, short(label))), html("th", { class: "sum", scope: "col" }, "sum"))),
      html("tbody", {}, ...labels.map((label, i) => html("tr", {}, html("th", { scope: "row" }, short(label)),
        ...labels.map((other, j) => html("td", {}, html("input", { inputmode: "decimal", autocomplete: "off", "aria-label": `row ${i + 1} (${label}) looks at ${j + 1} (${other})`, "data-at": `${i},${j}` }))),
        html("td", { class: "sum", "data-sum": i }, "–")))));
    table.oninput = () => sums(table, size);
  }
  document.getElementById("sketch-check").onclick = () => judgeSketch(view, table, size, labels, choose);
  document.getElementById("sketch-zeros").onclick = () => { for (const input of table.querySelectorAll("input")) { const [i, j] = input.dataset.at.split(",").map(Number); if (j > i) input.value = "0"; } sums(table, size); };
  document.getElementById("sketch-reset").onclick = () => { for (const input of table.querySelectorAll("input")) { input.value = ""; input.classList.remove("wrong"); } sums(table, size); document.getElementById("sketch-verdict").replaceChildren(); };
  document.getElementById("sketch-export").onclick = () => download("sketch.json", "application/json", JSON.stringify({ symbols: view.symbols, weights: readSketch(table, size) }, null, 1));
}

const entry = (text) => (text.trim() === "" ? null : /^[+-]?(\d+([.,]\d*)?|[.,]\d+)$/.test(text.trim()) ? Number(text.trim().replace(",", ".")) : NaN);
function readSketch(table, size) {
  const values = square(size, () => null);
  for (const input of table.querySelectorAll("input")) { const [i, j] = input.dataset.at.split(",").map(Number); values[i][j] = entry(input.value); }
  return values;
}
function sums(table, size) {
  readSketch(table, size).forEach((row, i) => {
    const filled = row.filter((value) => value !== null);
    table.querySelector(`[data-sum="${i}"]`).textContent = filled.length ? number(filled.reduce((a, b) => a + b, 0)) : "–";
  });
}

function judgeSketch(view, table, size, labels, choose) {
  const values = readSketch(table, size), mistakes = [];
  const mark = (i, j, wrong) => table.querySelector(`[data-at="${i},${j}"]`).classList.toggle("wrong", wrong);
  values.forEach((row, i) => {
    let wrong = false;
    row.forEach((value, j) => {
      const bad = value === null ? j <= i : Number.isNaN(value) || value < 0 || value > 1 || (j > i && value !== 0);
      mark(i, j, bad || (value === null && j > i));
      if (value === null && j <= i) mistakes.push(`Row ${labels[i]}, column ${labels[j]} is empty.`);
      else if (value === null) mistakes.push(`Row ${labels[i]}, column ${labels[j]} is empty; what must stand there?`);
      else if (Number.isNaN(value) || value < 0 || value > 1) mistakes.push(`Row ${labels[i]}, column ${labels[j]} must be a number from 0 to 1.`);
      else if (j > i && value !== 0) mistakes.push(`Row ${labels[i]}, column ${labels[j]} must be 0: token ${i + 1} cannot see token ${j + 1}, which comes after it.`);
      wrong = wrong || bad || value === null;
    });
    const total = row.reduce((sum, value) => sum + (value || 0), 0);
    if (!wrong && Math.abs(total - 1) > SKETCH_TOLERANCE) mistakes.push(`Row ${labels[i]} sums to ${number(total)}; softmax makes every row sum to 1.`);
  });
  const verdict = document.getElementById("sketch-verdict");
  if (mistakes.length) {
    const first = mistakes.slice(0, 6).map((text) => html("li", {}, text));
    if (mistakes.length > 6) first.push(html("li", {}, `and ${mistakes.length - 6} more.`));
    verdict.replaceChildren(html("p", { class: "wrong-text" }, mistakes.length === 1 ? "One thing is not right yet." : `${mistakes.length} things are not right yet.`), html("ul", {}, ...first));
    return;
  }
  const near = nearestHeads(view, values).slice(0, 5);
  verdict.replaceChildren(
    html("p", { class: "right-text" }, `Right: all ${(size * (size - 1)) / 2} weights on later tokens are 0, and every row sums to 1. An autoregressive model could compute this.`),
    html("p", { class: "quiet" }, "Nearest real heads, by the share of weight that would have to move (total variation, mean over rows from the second):"),
    html("div", { class: "near" }, ...near.map(({ place, distance }) => html("button", { type: "button", "data-near": place, onclick: () => choose(place) },
      `layer ${view.layers[Math.floor(place / view.heads.length)]}, head ${view.heads[place % view.heads.length]}: ${number(distance)}`))));
}

function nearestHeads(view, values) {
  const found = [];
  for (let layer = 0; layer < view.layers.length; layer += 1) for (let head = 0; head < view.heads.length; head += 1) {
    const real = mergeTokens(view, readHead(view, "before", layer, head)).values;
    let moved = 0;
    for (let i = 1; i < values.length; i += 1) {
      const total = real[i].reduce((a, b) => a + b, 0) || 1; // a prefix or a sink takes the rest
      values[i].forEach((value, j) => { moved += Math.abs(value - real[i][j] / total) / 2; });
    }
    found.push({ place: layer * view.heads.length + head, distance: moved / Math.max(values.length - 1, 1) });
  }
  return found.sort((a, b) => a.distance - b.distance);
}
