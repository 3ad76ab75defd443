// The numbers of a score as people read them: of bits two figures, however small; of anything else decimals.
const formatOf = (choice, digits) => (choice.unit === "bits" ? significant : choice.diverges ? (value) => signed(value, digits) : (value) => number(value, digits));

// Layer × head: every head as one coloured cell, by any score, in the model's order or the score's.
function scoreChoices(view) {
  const choices = view.scores.map((score, index) => ({ key: score.name, title: score.title, values: score.values, unit: score.unit, index }));
  if (view.scores.some((score) => score.after)) {
    choices.push({ key: "change", title: "change in training (JSD, bits)", values: view.change, unit: "bits" });
    for (const score of view.scores.filter((one) => one.after)) {
      choices.push({ key: `${score.name}:change`, title: `${score.title}, after − before`, values: Float64Array.from(score.after, (value, place) => value - score.values[place]), unit: score.unit, diverges: true });
    }
  }
  const count = view.layers.length * view.heads.length;
  return choices.length ? choices : [{ key: "none", title: "nothing measured", values: new Float64Array(count).fill(NaN), unit: "" }];
}

function drawOverview(view, state, choose) {
  const grid = document.getElementById("grid"), choice = scoreChoices(view).find((one) => one.key === state.colour) || scoreChoices(view)[0];
  const columns = view.heads.length, defined = Array.from(choice.values).filter((value) => !Number.isNaN(value));
  const low = Math.min(...defined), high = Math.max(...defined), reach = Math.max(Math.abs(low), Math.abs(high)) || 1;
  const colour = (value) => (Number.isNaN(value) ? null : choice.diverges ? diverging(value / reach) : sequential((value - low) / (high - low || 1)));
  const places = Array.from(choice.values, (_, place) => place);
  const ranked = [...places].sort((a, b) => (Number.isNaN(choice.values[a]) ? 1 : Number.isNaN(choice.values[b]) ? -1 : choice.values[b] - choice.values[a] || a - b));
  const order = state.order === "score" ? ranked : places;
  const name = (place) => `layer ${view.layers[Math.floor(place / columns)]}, head ${view.heads[place % columns]}`;
  const group = (head) => {
    const info = view.info, share = (info.query_heads || 1) / (info.key_value_heads || info.query_heads || 1);
    return share > 1 ? `, keys of group ${Math.floor(head / share)}` : "";
  };
  grid.replaceChildren();
  grid.style.gridTemplateColumns = `auto repeat(${columns}, minmax(14px, 1fr))`;
  const current = state.layer * columns + state.head;
  const axis = (text, side = "") => html("span", { class: `axis ${side}`, "aria-hidden": "true" }, text);
  grid.append(axis(state.order === "model" ? "layer" : "rank", "row"), axis(state.order === "model" ? "head →" : "highest first →", "column"));
  if (state.order === "model") {
    grid.append(axis(""), ...view.heads.map((head) => html("span", { class: "axis", "aria-hidden": "true" }, String(head))));
  }
  order.forEach((place, index) => {
    if (index % columns === 0) grid.append(html("span", { class: "axis", "aria-hidden": "true" }, state.order === "model" ? String(view.layers[Math.floor(place / columns)]) : String(index + 1)));
    const value = choice.values[place], label = `${name(place)}${group(view.heads[place % columns])}: ${choice.title} ${formatOf(choice, 3)(value)}`;
    const cell = html("button", { type: "button", "aria-label": label, title: label, "aria-pressed": String(place === current), tabindex: place === current ? 0 : -1, "data-place": place, "data-index": index });
    const rgb = colour(value);
    cell.style.background = rgb ? css(rgb) : `repeating-linear-gradient(45deg, ${theme().hidden} 0 3px, ${theme().hatch} 3px 4px)`;
    grid.append(cell);
  });
  grid.onclick = (event) => event.target.dataset.place && choose(Number(event.target.dataset.place));
  grid.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -Infinity, End: Infinity }[event.key];
    if (!step || !event.target.dataset.place) return;
    event.preventDefault();
    const next = Math.min(Math.max(Number(event.target.dataset.index) + step, 0), order.length - 1);
    choose(order[next], true);
    grid.querySelector(`[data-place="${order[next]}"]`).focus();
  };
  const legend = document.getElementById("legend"), ends = choice.diverges ? [-reach, reach] : [low, high];
  const bar = html("span", { "aria-hidden": "true" });
  const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => css(choice.diverges ? diverging(2 * share - 1) : sequential(share)));
  Object.assign(bar.style, { display: "inline-block", width: "90px", height: "10px", borderRadius: "2px", background: `linear-gradient(90deg, ${stops.join(",")})` });
  const show = formatOf(choice, 2), exact = formatOf(choice, 3);
  legend.replaceChildren(...(defined.length ? [show(ends[0]), bar, `${show(ends[1])} ${choice.unit}`] : ["n/a on this sequence"]));
  const top = document.getElementById("top");
  top.replaceChildren(...ranked.slice(0, 5).filter((place) => !Number.isNaN(choice.values[place])).map((place) =>
    html("li", {}, html("button", { type: "button", "aria-pressed": String(place === current), onclick: () => choose(place) }, html("span", {}, name(place)), html("span", {}, exact(choice.values[place]))))));
}

function drawScores(view, state) {
  const place = state.layer * view.heads.length + state.head, both = view.scores.some((score) => score.after);
  const head = both ? ["score", "before", "after", "uniform", "lift before", "lift after", "formula and source"] : ["score", "this head", "uniform", "lift", "formula and source"];
  const cell = (text) => html("td", { class: "number" }, text);
  const rows = view.scores.map((score) => {
    const value = score.values[place], base = score.baseline[place];
    const numbers = both
      ? [number(value), number(score.after[place]), number(base), signed(value - base), signed(score.after[place] - score.afterBaseline[place])]
      : [number(value), number(base), signed(value - base)];
    return html("tr", { "data-score": score.name }, html("th", { scope: "row" }, score.title), ...numbers.map(cell),
      html("td", { class: "formula" }, ["formula", "unit", "source"].filter((part) => score[part] !== "weight").map((part) => score[part].replace(/^[a-z]/, (letter) => letter.toUpperCase())).join(". ")));
  });
  document.getElementById("scores").replaceChildren(
    html("thead", {}, html("tr", {}, ...head.map((text, index) => html("th", { scope: "col", class: index && index < head.length - 1 ? "number" : "" }, text)))), html("tbody", {}, ...rows));
}
