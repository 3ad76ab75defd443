// The payload as numbers: `Head` is one head's matrix in one phase, in tokens or symbols, raw or derived.
async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

// 16-bit codes stand as all their high bytes, then all their low ones.
function reader(buffer) {
  const bytes = new Uint8Array(buffer);
  return (place) => {
    if (!place) return null;
    if (place.kind === "f32") return new Float32Array(buffer, place.at, place.count);
    const low = place.at + place.count;
    return Float64Array.from({ length: place.count }, (_, index) => {
      const code = bytes[place.at + index] * 256 + bytes[low + index];
      return code === 65535 ? NaN : place.low + code * place.step;
    });
  };
}

function unpack(payload, buffer) {
  const read = reader(buffer);
  for (const view of payload.views) {
    for (const phase of Object.values(view.phases)) {
      phase.step = phase.weights.step || 0;
      for (const name of ["weights", "logits", "sink", "norms"]) phase[name] = read(phase[name]);
    }
    view.change = read(view.change);
    view.rollout = view.rollout && view.rollout.map(read);
    view.scores.forEach((score, index) => {
      const after = view.scoresAfter[index];
      Object.assign(score, { values: read(score.values), baseline: read(score.baseline) });
      Object.assign(score, { after: after ? read(after.values) : null, afterBaseline: after ? read(after.baseline) : null });
    });
    view.merges = view.prefix > 0 || view.groups.some((group) => group.length > 1);
  }
  for (const found of Object.values(payload.evidence || {})) {
    for (const one of found.ensembles) for (const part of ["mean", "margin", "uniform"]) one[part] = read(one[part]);
  }
  return payload;
}

const square = (size, cell) => Array.from({ length: size }, (_, i) => Array.from({ length: size }, (_, j) => cell(i, j)));

function isVisible(view, layer, query, key) {
  const first = view.masks[layer];
  return key <= query && (!first || key >= first[query]);
}

// {size, labels, values[i][j], shown[i][j], kinds[i][j], sink[i] | null} of head (layer, head), places in the view's own
// lists. A cell is of one kind: "weight", "masked" (exactly 0), "left out" of this view, or "undefined" (n/a).
function readHead(view, phaseName, layer, head, what = "weights") {
  const phase = view.phases[phaseName], size = view.tokens.length;
  const triangle = phase.triangle && what === "weights";
  const cells = triangle ? (size * (size + 1)) / 2 : size * size;
  const base = (layer * view.heads.length + head) * cells;
  const source = phase[what];
  const at = (i, j) => (triangle ? (j > i ? 0 : source[base + (i * (i + 1)) / 2 + j]) : source[base + i * size + j]);
  const shown = square(size, (i, j) => !phase.triangle || isVisible(view, layer, i, j));
  const row = (layer * view.heads.length + head) * size;
  return {
    size, labels: view.tokens.map(readable), values: square(size, at), shown,
    kinds: shown.map((seen) => seen.map((one) => (one ? "weight" : "masked"))),
    sink: phase.sink ? Array.from(phase.sink.subarray(row, row + size)) : null,
    norms: phase.norms ? Array.from(phase.norms.subarray(row, row + size)) : null,
  };
}

// Sum over a key symbol's tokens, mean over a query symbol's; the prefix is left out.
function mergeTokens(view, matrix) {
  const groups = view.groups, mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
  const values = groups.map((rows) => groups.map((keys) => mean(rows.map((i) => keys.reduce((sum, j) => sum + matrix.values[i][j], 0)))));
  const kindOf = (rows, keys, value) => {
    const kinds = rows.flatMap((i) => keys.map((j) => matrix.kinds[i][j])).filter((kind) => kind !== "masked");
    if (!kinds.length) return "masked";
    if (kinds.every((kind) => kind === "left out")) return "left out";
    return Number.isNaN(value) ? "undefined" : "weight";
  };
  const kinds = groups.map((rows, i) => groups.map((keys, j) => kindOf(rows, keys, values[i][j])));
  return {
    size: groups.length, labels: view.symbols.map(readable), norms: null, kinds,
    sink: matrix.sink && groups.map((rows) => mean(rows.map((i) => matrix.sink[i]))),
    values: values.map((row, i) => row.map((value, j) => (kinds[i][j] === "masked" ? 0 : value))),
    shown: kinds.map((row) => row.map((kind) => kind !== "masked")),
  };
}

// Not raw attention: rows divided by what is left of them; a row of nothing is undefined.
function derive(matrix, how) {
  if (how === "raw") return matrix;
  const kept = matrix.values.map((row) => row.map((weight, j) => (how === "nosink" ? (j === 0 ? 0 : weight) : weight * matrix.norms[j])));
  const totals = kept.map((row) => row.reduce((a, b) => a + b, 0));
  const kinds = matrix.kinds.map((row, i) => row.map((kind, j) => {
    if (kind === "masked") return kind;
    if (how === "nosink" && j === 0) return "left out";
    return totals[i] > 0 ? "weight" : "undefined";
  }));
  const values = kept.map((row, i) => row.map((weight, j) => (kinds[i][j] === "masked" ? 0 : totals[i] > 0 ? weight / totals[i] : NaN)));
  return { ...matrix, values, kinds, sink: null };
}

function difference(before, after) {
  return { ...before, sink: null, values: before.values.map((row, i) => row.map((value, j) => after.values[i][j] - value)) };
}

// The largest change of any weight of any head, so that one colour means one change wherever it stands.
function largestChange(view) {
  if (view.largestChange === undefined) {
    const before = view.phases.before.weights, after = view.phases.after.weights;
    view.largestChange = before.reduce((most, weight, place) => Math.max(most, Math.abs(after[place] - weight)), 0) || 1;
  }
  return view.largestChange;
}

// Spaces and marks that would be invisible or turn the line around are spelt out; joiners within a symbol are part of it.
function readable(token) {
  if (token === "") return "∅";
  const letters = Array.from(token), named = { " ": "␣", "\n": "⏎", "\r": "⏎", "\t": "⇥" };
  return letters.map((letter) => {
    if (named[letter]) return named[letter];
    if (letters.length > 1 && /[\u200c\u200d]/.test(letter)) return letter;
    return /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Zs}]/u.test(letter) ? `\\u${letter.codePointAt(0).toString(16).padStart(4, "0")}` : letter;
  }).join("");
}
const short = (label, most = 12) => (Array.from(label).length > most ? Array.from(label).slice(0, most - 1).join("") + "…" : label);
const number = (value, digits = 2) => (Number.isNaN(value) || value === null || value === undefined ? "n/a" : value.toFixed(digits).replace(/^-(0(\.0+)?)$/, "$1"));
const signed = (value, digits = 2) => (Number.isNaN(value) ? "n/a" : (value > 0 && number(value, digits) !== number(0, digits) ? "+" : "") + number(value, digits).replace("-", "−"));
// For numbers that may be small all over: two figures, however many zeros stand before them.
function significant(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "n/a";
  return (Math.abs(value) < 1e-4 && value !== 0 ? value.toExponential(1) : String(Number(value.toPrecision(2)))).replace("-", "−");
}
