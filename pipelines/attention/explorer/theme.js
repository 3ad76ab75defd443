// Colours. One hue whose lightness only falls (rises in the dark): order survives any colour vision, and a grey print.
const LIGHT = {
  paper: "#fdfdfb", ink: "#1c1d1f", quiet: "#5d6066", hidden: "#efefea", hatch: "#d3d3cd", hiddenText: "#6b6e73", line: "#00528a", edge: "#b9c2c8",
  ramp: [[233, 239, 242], [196, 216, 230], [120, 165, 200], [44, 105, 160], [0, 48, 100], [0, 22, 58]],
  less: [158, 84, 0], more: [0, 82, 138], middle: [248, 248, 244],
};
const DARK = {
  paper: "#15171a", ink: "#eceae4", quiet: "#a3a6ab", hidden: "#1b1e22", hatch: "#3a3f45", hiddenText: "#9fa3a9", line: "#ffd479", edge: "#5d6268",
  ramp: [[46, 49, 52], [70, 66, 56], [122, 104, 66], [178, 146, 80], [228, 190, 100], [255, 231, 160]],
  less: [232, 140, 60], more: [110, 185, 240], middle: [32, 36, 41],
};
const darkQuery = window.matchMedia("(prefers-color-scheme: dark)");
let printing = false;
const theme = () => (darkQuery.matches && !printing ? DARK : LIGHT);

const mix = (one, other, share) => one.map((part, index) => Math.round(part + (other[index] - part) * share));
const css = (rgb) => `rgb(${rgb.join(",")})`;

// share in 0..1 → [r, g, b]
function sequential(share) {
  const ramp = theme().ramp, place = Math.min(Math.max(share || 0, 0), 1) * (ramp.length - 1);
  const index = Math.min(Math.floor(place), ramp.length - 2);
  return mix(ramp[index], ramp[index + 1], place - index);
}

// share in −1..1, the same distance either side of nothing
function diverging(share) {
  const { less, more, middle } = theme();
  return mix(middle, share < 0 ? less : more, Math.min(Math.abs(share || 0), 1));
}

// Black or white, whichever stands out more (relative luminance, WCAG 2).
function inkOn(rgb) {
  const linear = rgb.map((part) => (part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.19 ? "#111" : "#fff";
}
