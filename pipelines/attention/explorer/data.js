// The payload as numbers: `Head` is one head's matrix in one phase, in tokens or symbols, raw or derived.
async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

function reader(buffer) {
  return (place) => {
    if (!place) return null;
    if (place.kind === "f32") return new Float32Array(buffer, place.at, place.count);
    const codes = new Uint16Array(buffer, place.at, place.count);
    return Float64Array.from(codes, (code) => (code === 65535 ? NaN : place.low + code * place.step));
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
    view.scores.forEach((score, index) => {
      score.values = read(score.values);
      score.after = view.scoresAfter[index] ? read(view.scoresAfter[index]) : null;
    });
    view.merges = view.prefix > 0 || view.groups.some((group) => group.length > 1);
  }
  return payload;
}

const square = (size, cell) => Array.from({ length: size }, (_, i) => Array.from({ length: size }, (_, j) => cell(i, j)));

function isVisible(view, layer, query, key) {
  const first = view.masks[layer];
  return key <= query && (!first || key >= first[query]);
}

// {size, labels, values[i][j], shown[i][j], sink[i] | null} of head (layer, head), places in the view's own lists.
function readHead(view, phaseName, layer, head, what = "weights") {
  const phase = view.phases[phaseName], size = view.tokens.length;
  const triangle = phase.triangle && what === "weights";
  const cells = triangle ? (size * (size + 1)) / 2 : size * size;
  const base = (layer * view.heads.length + head) * cells;
  const source = phase[what];
  const at = (i, j) => (triangle ? (j > i ? 0 : source[base + (i * (i + 1)) / 2 + j]) : source[base + i * size + j]);
  const shown = (i, j) => !phase.triangle || isVisible(view, layer, i, j);
  const row = (layer * view.heads.length + head) * size;
  return {
    size, labels: view.tokens.map(readable), values: square(size, at), shown: square(size, shown),
    sink: phase.sink ? Array.from(phase.sink.subarray(row, row + size)) : null,
    norms: phase.norms ? Array.from(phase.norms.subarray(row, row + size)) : null,
  };
}

// Sum over a key symbol's tokens, mean over a query symbol's; the prefix is left out.
function mergeTokens(view, matrix) {
  const groups = view.groups, mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
  return {
    size: groups.length, labels: view.symbols.map(readable), norms: null,
    sink: matrix.sink && groups.map((rows) => mean(rows.map((i) => matrix.sink[i]))),
    values: groups.map((rows) => groups.map((keys) => mean(rows.map((i) => keys.reduce((sum, j) => sum + matrix.values[i][j], 0))))),
    shown: groups.map((rows) => groups.map((keys) => rows.some((i) => keys.some((j) => matrix.shown[i][j])))),
  };
}

// Not raw attention: rows divided by what is left of them; a row of nothing is undefined.
function derive(matrix, how) {
  if (how === "raw") return matrix;
  const values = matrix.values.map((row) => {
    const kept = row.map((weight, j) => (how === "nosink" ? (j === 0 ? 0 : weight) : weight * matrix.norms[j]));
    const total = kept.reduce((a, b) => a + b, 0);
    return kept.map((weight) => (total > 0 ? weight / total : NaN));
  });
  const shown = how === "nosink" ? matrix.shown.map((row) => row.map((seen, j) => seen && j > 0)) : matrix.shown;
  return { ...matrix, values, shown, sink: null };
}

function difference(before, after) {
  return { ...before, sink: null, values: before.values.map((row, i) => row.map((value, j) => after.values[i][j] - value)) };
}

// Spaces and marks that would be invisible or turn the line around are spelt out.
function readable(token) {
  if (token === "") return "∅";
  return Array.from(token, (letter) => {
    if (letter === " ") return "␣";
    if (letter === "\n") return "⏎";
    if (letter === "\t") return "⇥";
    const code = letter.codePointAt(0);
    const hidden = code < 32 || (code >= 127 && code < 161) || (code >= 0x200b && code <= 0x200f) ||
      (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) || code === 0xfeff;
    return hidden ? `\\u${code.toString(16).padStart(4, "0")}` : letter;
  }).join("");
}
const short = (label, most = 12) => (Array.from(label).length > most ? Array.from(label).slice(0, most - 1).join("") + "…" : label);
const number = (value, digits = 2) => (Number.isNaN(value) || value === null || value === undefined ? "n/a" : value.toFixed(digits).replace(/^-(0(\.0+)?)$/, "$1"));
const signed = (value, digits = 2) => (Number.isNaN(value) ? "n/a" : (value > 0 && number(value, digits) !== number(0, digits) ? "+" : "") + number(value, digits).replace("-", "−"));
