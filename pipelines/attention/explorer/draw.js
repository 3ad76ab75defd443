// Matrices and lines as SVG. Colours are written into the elements, so that an exported drawing looks the same anywhere.
const SVG = "http://www.w3.org/2000/svg";
const NUMBERS_UP_TO = 12, CELLS_UP_TO = 40;

function svg(name, attributes = {}, text = null) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}
function html(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const cellSize = (size) => (size <= 5 ? 58 : size <= 7 ? 50 : size <= NUMBERS_UP_TO ? 42 : size <= 20 ? 24 : size <= CELLS_UP_TO ? 15 : Math.max(2, Math.floor(560 / size)));

// scale: "weights" 0..1, "difference" −range..range around 0, {low, high} for scores; onCell(i, j | null) when pointed at.
function drawMatrix(matrix, { scale = "weights", cell = cellSize(matrix.size), title, hiddenText = "0", onCell = null }) {
  const { size, labels, values, kinds, sink } = matrix, colours = theme(), words = { masked: hiddenText, "left out": "–", undefined: "n/a" };
  const digits = cell >= 40 || scale === "weights" || scale === "difference" ? 2 : 1;
  const font = Math.min(16, Math.max(9, cell * 0.34)), every = Math.ceil(13 / cell);
  const longest = Math.max(...labels.map((label) => Array.from(short(label)).length));
  const left = 14 + longest * font * 0.62 + 6, slanted = longest * font * 0.62 > cell - 4;
  const top = slanted ? 12 + longest * font * 0.5 : 26, extra = sink ? cell * 1.25 : 0;
  const width = Math.ceil(left + size * cell + extra + 2), height = Math.ceil(top + size * cell + 2);
  const root = svg("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title, "font-family": "system-ui, sans-serif", "font-size": font });
  const hatch = `hatch${(drawMatrix.count = (drawMatrix.count || 0) + 1)}`;
  const pattern = svg("pattern", { id: hatch, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  pattern.append(svg("rect", { width: 6, height: 6, fill: colours.hidden }), svg("rect", { width: 1.4, height: 6, fill: colours.hatch }));
  root.append(svg("defs"));
  root.firstChild.append(pattern);
  const colour = (value) => {
    if (Number.isNaN(value)) return theme().middle;
    if (scale === "weights") return sequential(value);
    if (scale === "difference") return diverging(value / (matrix.range || 1));
    return sequential(0.75 * ((value - scale.low) / (scale.high - scale.low || 1)));
  };
  labels.forEach((label, place) => {
    if (place % every) return;
    const x = left + (place + 0.5) * cell, y = top + (place + 0.5) * cell;
    root.append(svg("text", { x: left - 7, y, "text-anchor": "end", "dominant-baseline": "central", fill: colours.ink, "data-row": place }, short(label)));
    root.append(svg("text", slanted ? { transform: `translate(${x + 3},${top - 6}) rotate(-45)`, fill: colours.ink, "data-column": place } : { x, y: top - 9, "text-anchor": "middle", fill: colours.ink, "data-column": place }, short(label)));
  });
  if (size <= CELLS_UP_TO) {
    for (let i = 0; i < size; i += 1) for (let j = 0; j < size; j += 1) {
      const kind = kinds[i][j], rgb = colour(values[i][j]), seen = kind === "weight";
      const look = seen ? { fill: css(rgb), stroke: colours.edge, "stroke-width": 0.6, class: "visible" }
        : kind === "masked" ? { fill: `url(#${hatch})`, class: "hidden" } : { fill: "none", "pointer-events": "all", stroke: colours.edge, "stroke-dasharray": "3 3", class: kind === "left out" ? "out" : "undefined" };
      root.append(svg("rect", { x: left + j * cell + 0.75, y: top + i * cell + 0.75, width: cell - 1.5, height: cell - 1.5, rx: Math.min(3, cell / 8), "data-cell": `${i},${j}`, ...look }));
      if (size > NUMBERS_UP_TO) continue;
      const text = !seen ? words[kind] : scale === "difference" ? signed(values[i][j]) : number(values[i][j], digits).replace("-", "−");
      root.append(svg("text", { x: left + (j + 0.5) * cell, y: top + (i + 0.5) * cell, "text-anchor": "middle", "dominant-baseline": "central", fill: seen ? inkOn(rgb) : colours.hiddenText, "font-size": cell >= 50 ? 15 : cell >= 42 ? 13 : 11, "data-number": `${i},${j}`, "pointer-events": "none" }, text));
    }
  } else {
    const canvas = html("canvas", { width: size, height: size }), image = canvas.getContext("2d");
    const pixels = image.createImageData(size, size);
    for (let i = 0; i < size; i += 1) for (let j = 0; j < size; j += 1) {
      const dot = kinds[i][j] !== "masked" ? colours.paper : (i + j) % 4 === 0 ? colours.hatch : colours.hidden;
      const rgb = kinds[i][j] === "weight" ? colour(values[i][j]) : [1, 3, 5].map((at) => parseInt(dot.slice(at, at + 2), 16));
      pixels.data.set([...rgb, 255], 4 * (i * size + j));
    }
    image.putImageData(pixels, 0, 0);
    const picture = svg("image", { x: left, y: top, width: size * cell, height: size * cell, href: canvas.toDataURL(), preserveAspectRatio: "none" });
    picture.style.imageRendering = "pixelated";
    root.append(picture);
  }
  if (sink) {
    const x = left + size * cell + cell * 0.25;
    root.append(svg("text", { x: x + cell / 2, y: top - 9, "text-anchor": "middle", fill: colours.quiet }, "sink"));
    sink.forEach((mass, i) => {
      const rgb = colour(mass);
      root.append(svg("rect", { x: x + 0.75, y: top + i * cell + 0.75, width: cell - 1.5, height: cell - 1.5, rx: 3, fill: css(rgb), "data-sink": i }));
      if (size <= NUMBERS_UP_TO) root.append(svg("text", { x: x + cell / 2, y: top + (i + 0.5) * cell, "text-anchor": "middle", "dominant-baseline": "central", fill: inkOn(rgb), "font-size": 13 }, number(mass)));
    });
  }
  const cursor = svg("rect", { class: "cursor", width: cell, height: cell, rx: 3, fill: "none", stroke: colours.line, "stroke-width": 2.5, visibility: "hidden", "pointer-events": "none" });
  root.append(cursor);
  if (onCell) {
    const tell = (event) => {
      const box = root.getBoundingClientRect(), zoom = box.width / width;
      const j = Math.floor(((event.clientX - box.left) / zoom - left) / cell), i = Math.floor(((event.clientY - box.top) / zoom - top) / cell);
      onCell(i >= 0 && i < size ? i : null, j >= 0 && j < size ? j : null);
    };
    root.addEventListener("pointerdown", tell);
    root.addEventListener("pointermove", tell);
    // A finger that lifts has left as well, but its cell is to be read.
    root.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") onCell(null, null); });
  }
  root.highlight = (i, j) => {
    for (const node of root.querySelectorAll("[data-row],[data-column]")) {
      const on = node.dataset.row === String(i) || node.dataset.column === String(j);
      node.setAttribute("font-weight", on ? 700 : 400);
    }
    cursor.setAttribute("visibility", i === null || j === null ? "hidden" : "visible");
    if (i !== null && j !== null) { cursor.setAttribute("x", left + j * cell); cursor.setAttribute("y", top + i * cell); }
  };
  return root;
}

// The largest cell at which so many matrices stand side by side; null where they have to stand below each other.
function fittingCell(count, matrix, room, most) {
  const longest = Math.max(...matrix.labels.map((label) => Array.from(short(label)).length));
  const cell = Math.floor(((room - 22 * (count - 1)) / count - 26 - 8.5 * longest) / matrix.size);
  return cell >= 32 ? Math.min(cell, most) : null;
}

// Queries left, keys right; a line's strength is its weight. onRow(i | null) when a query is pointed at or focused.
function drawLines(matrix, { title, onRow }) {
  const { size, labels, values, kinds } = matrix, colours = theme();
  const step = size <= 8 ? 46 : size <= 16 ? 30 : size <= CELLS_UP_TO ? 18 : 9, width = 280, left = 92, right = 188, top = 30;
  const height = top + size * step + 8;
  const root = svg("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title, "font-family": "system-ui, sans-serif", "font-size": Math.min(16, step * 0.7) });
  root.append(svg("text", { x: left - 8, y: 14, "text-anchor": "end", fill: colours.quiet, "font-size": 13 }, "looks"), svg("text", { x: right + 8, y: 14, fill: colours.quiet, "font-size": 13 }, "looked at"));
  const middle = (place) => top + (place + 0.5) * step;
  for (let i = 0; i < size; i += 1) for (let j = 0; j < size; j += 1) {
    if (kinds[i][j] !== "weight" || !(values[i][j] > 0.01)) continue;
    root.append(svg("path", { class: "line", d: `M${left},${middle(i)} C${left + 50},${middle(i)} ${right - 50},${middle(j)} ${right},${middle(j)}`, fill: "none", stroke: colours.line, "stroke-width": 1 + 5 * values[i][j], opacity: 0.08 + 0.92 * values[i][j], "data-from": i, "data-to": j, "data-opacity": 0.08 + 0.92 * values[i][j] }));
  }
  const every = Math.ceil(12 / step);
  labels.forEach((label, place) => {
    const seen = values[place].map((value, key) => (kinds[place][key] === "weight" ? value : 0)), most = Math.max(...seen);
    const told = most > 0 ? `looks most at ${labels[seen.indexOf(most)]}, ${number(most)}` : "looks at nothing in this view";
    const node = svg("text", { x: left - 8, y: middle(place), "text-anchor": "end", "dominant-baseline": "central", fill: colours.ink, tabindex: 0, role: "button", "aria-label": `token ${place + 1}, ${label}: ${told}`, "data-query": place }, place % every ? "·" : short(label, 9));
    for (const [event, row] of [["pointerenter", place], ["focus", place], ["pointerleave", null], ["blur", null]]) node.addEventListener(event, () => onRow(row));
    root.append(node, svg("text", { x: right + 8, y: middle(place), "dominant-baseline": "central", fill: colours.ink, "data-key": place }, place % every ? "·" : short(label, 9)));
  });
  root.highlight = (i, j = null) => {
    for (const line of root.querySelectorAll(".line")) {
      const on = (i === null || line.dataset.from === String(i)) && (j === null || line.dataset.to === String(j));
      line.setAttribute("opacity", on ? line.dataset.opacity : 0.04);
    }
    for (const node of root.querySelectorAll("[data-query],[data-key]")) {
      node.setAttribute("font-weight", node.dataset.query === String(i) || node.dataset.key === String(j) ? 700 : 400);
    }
  };
  return root;
}
