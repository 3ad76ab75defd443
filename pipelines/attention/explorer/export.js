// What is on screen as a file: drawings as SVG and PNG, numbers as JSON and CSV, with where they come from.
function download(name, type, content) {
  const link = html("a", { href: URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// The drawings of the chosen head side by side, with a title, on the page's own ground.
function composeSvg(drawings, caption) {
  const gap = 24, top = 54, inner = drawings.map(({ root, title }) => ({ root, title, width: Number(root.getAttribute("width")), height: Number(root.getAttribute("height")) }));
  const width = Math.max(inner.reduce((sum, part) => sum + part.width + gap, gap), 7 * caption.length + 2 * gap), height = top + Math.max(...inner.map((part) => part.height)) + gap;
  const whole = svg("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}`, "font-family": "system-ui, sans-serif" });
  whole.append(svg("title", {}, caption), svg("rect", { width, height, fill: theme().paper }), svg("text", { x: gap, y: 24, fill: theme().ink, "font-size": 15, "font-weight": 600 }, caption));
  let x = gap;
  for (const part of inner) {
    const copy = part.root.cloneNode(true);
    copy.querySelector(".cursor").remove();
    copy.setAttribute("x", x);
    copy.setAttribute("y", top);
    whole.append(svg("text", { x, y: 46, fill: theme().quiet, "font-size": 13 }, part.title), copy);
    x += part.width + gap;
  }
  return whole;
}

const serialise = (node) => `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(node)}`;

async function toPng(node, zoom = 2) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(serialise(node))}`;
  await image.decode();
  const canvas = html("canvas", { width: node.getAttribute("width") * zoom, height: node.getAttribute("height") * zoom });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// A cell that begins with = + - @ would run as a formula in a spreadsheet.
const quote = (text) => `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
function toCsv(panels) {
  const lines = ["phase,query_position,query,key_position,key,visible,cell,weight"];
  for (const { name, matrix } of panels) for (let i = 0; i < matrix.size; i += 1) for (let j = 0; j < matrix.size; j += 1) {
    const value = matrix.values[i][j];
    lines.push([quote(name), i, quote(matrix.labels[i]), j, quote(matrix.labels[j]), matrix.shown[i][j], matrix.kinds[i][j], ["left out", "undefined"].includes(matrix.kinds[i][j]) ? "" : value].join(","));
  }
  return `${lines.join("\r\n")}\r\n`;
}
