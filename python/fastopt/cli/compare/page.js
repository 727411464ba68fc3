/* Highlights a rule wherever the page shows it, tells values under the pointer, and sorts the table.  Without it the page is whole. */
"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const pinned = new Set();
let hovered = null;

function show() {
  const shown = new Set(pinned);
  if (hovered !== null) shown.add(hovered);
  document.body.classList.toggle("some", shown.size > 0);
  for (const part of all("[data-s]")) {
    const on = shown.has(part.dataset.s);
    part.classList.toggle("on", on);
    if (part.matches(".chip")) part.setAttribute("aria-pressed", String(pinned.has(part.dataset.s)));
  }
  for (const part of all("g.on")) part.parentNode.append(part); // over the others
}

function hover(rule) {
  if (rule === hovered) return;
  hovered = rule;
  show();
}

for (const part of all(".chip, tbody tr, .dots, .mean")) {
  part.addEventListener("pointerenter", () => hover(part.dataset.s));
  part.addEventListener("pointerleave", () => hover(null));
}
for (const chip of all(".chip")) {
  chip.addEventListener("focus", () => chip.matches(":focus-visible") && hover(chip.dataset.s));
  chip.addEventListener("blur", () => hover(null));
  chip.addEventListener("click", () => {
    if (!pinned.delete(chip.dataset.s)) pinned.add(chip.dataset.s);
    show();
  });
}

// The tip: the nearest point of any line, in the units of the axes.
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);
const value = (text, part) => {
  const [low, high, log] = text.split(",").map(Number);
  return log ? low * (high / low) ** part : low + part * (high - low);
};
const words = (number) => String(Number(number.toPrecision(3)));

for (const chart of all("svg[data-box]")) {
  const [left, top, right, bottom] = chart.dataset.box.split(",").map(Number);
  const dots = [];
  for (const series of all("g.series", chart))
    for (const line of all(":scope > path", series))
      for (const [, x, y] of line.getAttribute("d").matchAll(/(-?[\d.]+) (-?[\d.]+)/g))
        if (x >= left && x <= right && y >= top && y <= bottom) dots.push({ x: Number(x), y: Number(y), series });
  const move = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
    let best = null, least = 24 ** 2;
    for (const dot of dots) {
      const distance = (dot.x - at.x) ** 2 + (dot.y - at.y) ** 2;
      if (distance < least) [best, least] = [dot, distance];
    }
    tip.hidden = best === null;
    hover(best && best.series.dataset.s);
    if (best === null) return;
    const x = value(chart.dataset.x, (best.x - left) / (right - left));
    const y = value(chart.dataset.y, (bottom - best.y) / (bottom - top));
    tip.textContent = `${best.series.dataset.name}, ${chart.dataset.xlabel} ${words(x)}: ${chart.dataset.ylabel} ${words(y)}`;
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(8, event.clientY - tip.offsetHeight - 12)}px`;
  };
  chart.addEventListener("pointermove", move);
  chart.addEventListener("pointerdown", move);
  chart.addEventListener("pointerleave", () => { tip.hidden = true; hover(null); });
}

// The table: numbers by size, names by the alphabet, what is missing last in either direction.
for (const button of all(".sort")) {
  button.addEventListener("click", () => {
    const header = button.closest("th"), body = header.closest("table").tBodies[0];
    const column = header.cellIndex;
    const before = header.getAttribute("aria-sort");
    const next = before === "none" ? header.dataset.first : before === "ascending" ? "descending" : "ascending";
    const direction = next === "ascending" ? 1 : -1;
    const key = (row) => row.cells[column].dataset.v;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const numbers = [Number(x), Number(y)];
      return direction * (numbers.some(Number.isNaN) ? x.localeCompare(y, "en") : numbers[0] - numbers[1]);
    });
    body.append(...rows);
    for (const other of all("th[aria-sort]", header.parentNode)) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", next);
  });
}
