// Beyond one picture: seeded sequences with intervals, ablation, the floor and scale of a change, rollout.
const PHASE_WORDS = { before: "before training", after: "after training" };

function drawEvidence(payload, view, state, choose) {
  const found = payload.evidence || {}, both = found.before && found.after && found.after.ensembles.length > 0;
  drawEnsembles(found, view, state, both);
  const box = document.getElementById("evidence-told"), told = [];
  for (const [phase, one] of Object.entries(found)) told.push(...ablationLines(one, view.phases.after ? PHASE_WORDS[phase] : ""), ...changeLines(one));
  box.replaceChildren(...told.map((line) => html("li", {}, line)));
  box.hidden = !told.length;
  document.getElementById("evidence-none").hidden = Object.keys(found).length > 0;
  drawPicked((found.after && found.after.picked.length && found.after) || found.before, view, choose);
  drawRollout(view, state);
}

function drawEnsembles(found, view, state, both) {
  const table = document.getElementById("evidence"), first = [found.before, found.after].find((one) => one && one.ensembles.length);
  table.parentElement.hidden = !first;
  document.getElementById("evidence-lead").hidden = !first;
  if (!first) return;
  document.getElementById("evidence-lead").textContent = `This head over ${first.seeds} seeded sequences of each kind, mean and 95 % interval over seeds (Student’s t), beside what uniform attention gets on them.`;
  const columns = view.info.query_heads, row = first.layers.indexOf(view.layers[state.layer]), place = row * columns + view.heads[state.head];
  const interval = (one) => (!one || row < 0 || Number.isNaN(one.mean[place]) ? "n/a" : `${number(one.mean[place])} ± ${number(one.margin[place])}`);
  const head = ["score", "sequences", ...(both ? ["before", "after"] : ["this head"]), "uniform", "lift"];
  table.replaceChildren(html("thead", {}, html("tr", {}, ...head.map((text, index) => html("th", { scope: "col", class: index > 1 ? "number" : "" }, text)))), html("tbody", {}, ...first.ensembles.map((one, index) => {
    const numbers = [interval(one), ...(both ? [interval(found.after.ensembles[index])] : []), number(one.uniform[place]), signed(one.mean[place] - one.uniform[place])];
    return html("tr", { "data-evidence": one.score }, html("th", { scope: "row" }, one.title), html("td", {}, one.sequences), ...numbers.map((text) => html("td", { class: "number" }, text)));
  })));
}

// Picked on one half of the seeds, reported on the other: the best of many heads on the same seeds is partly luck.
function drawPicked(found, view, choose) {
  const box = document.getElementById("picked"), title = document.getElementById("picked-title"), picked = found ? found.picked : [];
  title.hidden = box.hidden = !picked.length;
  box.replaceChildren(...picked.map((one) => {
    const layer = view.layers.indexOf(one.layer), head = view.heads.indexOf(one.head);
    const text = `${one.title}: layer ${one.layer}, head ${one.head}, ${number(one.mean)} ± ${number(one.margin)} (uniform ${number(one.uniform)})`;
    return layer < 0 || head < 0 ? html("span", {}, text) : html("button", { type: "button", onclick: () => choose(layer * view.heads.length + head) }, text);
  }));
}

function ablationLines(found, when) {
  const titles = { shown_head: "on this text", induction_head: "on the second copy of a random sequence" };
  const told = { ...(found.ablations || {}), ...(found.change && found.change.most_changed_ablated ? { most_changed: found.change.most_changed_ablated } : {}) };
  return Object.entries(told).filter(([, one]) => one && one.mean_nats !== null).map(([name, one]) => {
    const others = one.other_heads_mean_nats, mean = others.reduce((a, b) => a + b, 0) / others.length;
    const beside = others.length ? `; without another head of that layer by ${signed(mean, 3)} on average` : "";
    return `Ablation${when ? ` ${when}` : ""}: without layer ${one.layer}, head ${one.head}${name === "most_changed" ? ", the most changed," : ""} log-probability changes ${titles[name] || "on this text"} by ${signed(one.mean_nats, 3)} nats a token${beside}.`;
  });
}

function changeLines(found) {
  const { change, scale } = found;
  if (!change) return [];
  const bits = (value) => `${significant(value)} bits`;
  const lines = [`Change of attention in training (Jensen–Shannon divergence): median head ${bits(change.median_jsd_bits)}; noise floor, the same model twice, ${bits(change.same_model_twice_jsd_bits)}.`];
  if (scale) lines.push(`For scale, another training run: median change ${bits(scale.other_run_median_jsd_bits)}, between the two runs ${bits(scale.between_runs_median_jsd_bits)}; rank correlation of which heads changed ${number(scale.rank_correlation)}.`);
  return lines;
}

// After the chosen layer: after many, everything comes from the first token, whatever the heads do.
function drawRollout(view, state) {
  const box = document.getElementById("rollout-box");
  box.hidden = !view.rollout;
  if (box.hidden) return;
  const size = view.tokens.length, at = (i, j) => (state.layer * size + i) * size + j, shown = square(size, (i, j) => j <= i);
  const matrices = view.rollout.map((flow) => ({
    size, labels: view.tokens.map(readable), sink: null, shown,
    values: square(size, (i, j) => flow[at(i, j)]), kinds: shown.map((row) => row.map((seen) => (seen ? "weight" : "masked"))),
  }));
  document.getElementById("rollout-title").textContent = `Attention rollout after layer ${view.layers[state.layer]}`;
  const most = Math.min(cellSize(size), 44), cell = fittingCell(2, matrices[0], document.getElementById("rollout").clientWidth, most) || most;
  document.getElementById("rollout").replaceChildren(...["this model", "uniform attention"].map((title, index) =>
    titled(title, drawMatrix(matrices[index], { cell, title: `Attention rollout, ${title}` }), scrolling)));
}
