// One set of colours for each theme, told apart by lightness as well as by hue, and the dashes
// that tell lines apart without any colour.

const light = [
  "#0b62b8", "#c2500a", "#00795a", "#963c82", "#6f5c00", "#4b515c", "#0d7f9f", "#6646c0", "#b0122c",
];
const dark = [
  "#62b1ff", "#ff9d5c", "#45d0a2", "#e793d3", "#d9c250", "#b3bac6", "#70d4f2", "#b09dff", "#ff8089",
];
const dashes = [null, [7, 3], [2, 3], [9, 3, 2, 3], [4, 4], [12, 4], [2, 5], [6, 2, 2, 2], [3, 2]];

export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  if (chosen) return chosen === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

export const colour = (place) => (isDark() ? dark : light)[place % light.length];
export const dash = (place) => dashes[place % dashes.length];
export const gridColour = () => (isDark() ? "#2b323c" : "#e6e9ee");
