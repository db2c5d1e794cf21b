"use strict";
// Legends, pickers and the values under the pointer. The page is whole without this script; nothing here computes a score.
(() => {
  document.documentElement.classList.add("js");
  const tip = document.querySelector(".tip");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // A legend's button hides a line in every figure of the same scope.
  function toggle(button) {
    const shown = button.getAttribute("aria-pressed") !== "true";
    const { scope } = button.closest("figure").dataset;
    for (const figure of all("figure").filter((one) => one.dataset.scope === scope)) {
      for (const part of all("[data-key]", figure).filter((one) => one.dataset.key === button.dataset.key)) {
        if (part.tagName === "BUTTON") part.setAttribute("aria-pressed", shown);
        else part.style.display = shown ? "" : "none";
      }
    }
    hide();
  }

  // A picker's button shows the chart that fits all pickers, or else the first one that fits this picker.
  function pick(button) {
    const figure = button.closest("figure");
    const row = button.closest(".picker");
    const wanted = all(".picker", figure).map((one) => [
      Number(one.dataset.place),
      one === row ? button.dataset.option : one.querySelector("[aria-pressed=true]").dataset.option,
    ]);
    const [place, option] = [Number(row.dataset.place), button.dataset.option];
    const fitting = all(".view", figure)
      .map((view) => [view, view.dataset.choice.split("\n")])
      .filter(([, choice]) => choice[place] === option)
      .map(([view, choice]) => [view, choice, wanted.filter(([i, word]) => choice[i] === word).length])
      .sort((a, b) => b[2] - a[2]);
    const [shown, choice] = fitting[0];
    for (const view of all(".view", figure)) view.hidden = view !== shown;
    for (const one of all(".picker button", figure)) {
      one.setAttribute("aria-pressed", choice[Number(one.closest(".picker").dataset.place)] === one.dataset.option);
    }
    hide();
  }

  function once(read) {
    const known = new WeakMap();
    return (element) => {
      if (!known.has(element)) known.set(element, read(element));
      return known.get(element);
    };
  }

  // Paths are in the units of the data: their numbers are the values.
  const points = once((path) => {
    const found = [...path.getAttribute("d").matchAll(/[ML](-?[\d.e+-]+) (-?[\d.e+-]+)/g)];
    return found.map((pair) => [Number(pair[1]), Number(pair[2])]);
  });
  const spots = once((path) => points(path).map((point) => spot(path.closest("svg"), point)));
  const people = once((figure) => JSON.parse(figure.querySelector(".people").textContent));
  const owners = once((path) => path.dataset.who.split(" ").map(Number));

  function visible(chart) {
    return all("path.line", chart).filter((path) => path.style.display !== "none");
  }

  function spot(chart, [x, y]) {
    const [a, d, e, f] = chart.dataset.matrix.split(" ").map(Number);
    return [a * x + e, d * y + f];
  }

  function nearest(chart, left, top) {
    const box = chart.getBoundingClientRect();
    const scale = chart.viewBox.baseVal.width / box.width;
    const [x, y] = [(left - box.left) * scale, (top - box.top) * scale];
    let best = null;
    for (const path of visible(chart)) {
      const places = spots(path);
      for (let index = 0; index < places.length; index += 1) {
        const distance = (places[index][0] - x) ** 2 + (places[index][1] - y) ** 2;
        if (best === null || distance < best.distance) best = { path, index, distance };
      }
    }
    return best;
  }

  const written = (value) => (value === 0 ? "0" : String(Number(value.toPrecision(4))));

  function told(chart, path, index) {
    const [x, y] = points(path)[index];
    const { place, unit } = chart.dataset;
    let where = `${place} ${written(x)}`;
    if (unit) where = `${written(x)} ${unit}`;
    if (path.dataset.who) where = `${place} ${people(chart.closest("figure"))[owners(path)[index]]}`;
    const band = all("path.band", chart).find((one) => one.dataset.key === path.dataset.key);
    let span = "";
    if (band) {
      const ends = points(band);
      const low = ends.find((end) => end[0] === x);
      const high = ends.slice().reverse().find((end) => end[0] === x);
      if (low && high && low[1] !== high[1]) span = ` (${written(low[1])} to ${written(high[1])})`;
    }
    return `${path.dataset.name}, ${where}: ${written(y)}${span}`;
  }

  let current = null;
  function show(chart, found) {
    if (!found) return;
    current = { chart, ...found };
    const [x, y] = spot(chart, points(found.path)[found.index]);
    const mark = chart.querySelector(".at");
    mark.setAttribute("cx", x);
    mark.setAttribute("cy", y);
    mark.setAttribute("visibility", "visible");
    tip.textContent = told(chart, found.path, found.index);
    tip.hidden = false;
    const box = chart.getBoundingClientRect();
    const scale = box.width / chart.viewBox.baseVal.width;
    const [left, top] = [box.left + x * scale, box.top + y * scale];
    const [wide, high] = [tip.offsetWidth, tip.offsetHeight];
    tip.style.left = `${Math.max(6, Math.min(left + 12, window.innerWidth - wide - 6))}px`;
    tip.style.top = `${top - high - 12 > 0 ? top - high - 12 : top + 14}px`;
  }

  function hide() {
    current = null;
    tip.hidden = true;
    for (const mark of all(".at")) mark.setAttribute("visibility", "hidden");
  }

  // Arrows left and right go along a line, up and down to another one, at the point nearest in place.
  function step(chart, key) {
    const paths = visible(chart);
    if (!paths.length) return;
    let { path, index } = current && current.chart === chart ? current : { path: paths[0], index: -1 };
    if (key === "ArrowRight") index = Math.min(index + 1, points(path).length - 1);
    else if (key === "ArrowLeft") index = Math.max(index - 1, 0);
    else {
      const [x] = points(path)[Math.max(index, 0)];
      const move = key === "ArrowDown" ? 1 : -1;
      path = paths[(paths.indexOf(path) + move + paths.length) % paths.length];
      const gaps = points(path).map((point) => Math.abs(point[0] - x));
      index = gaps.indexOf(Math.min(...gaps));
    }
    show(chart, { path, index });
  }

  function copy(button) {
    const code = button.parentElement.querySelector("code");
    const range = document.createRange();
    range.selectNodeContents(code);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    const done = () => { button.textContent = "Copied"; };
    if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(done, () => document.execCommand("copy"));
    else if (document.execCommand("copy")) done();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.classList.contains("key")) toggle(button);
    else if (button.classList.contains("copy")) copy(button);
    else pick(button);
  });
  for (const chart of all("svg.chart")) {
    let waiting = null;
    const follow = (event) => {
      const idle = waiting === null;
      waiting = event;
      if (!idle) return;
      requestAnimationFrame(() => {
        show(chart, nearest(chart, waiting.clientX, waiting.clientY));
        waiting = null;
      });
    };
    chart.addEventListener("pointermove", follow);
    chart.addEventListener("pointerdown", follow);
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide();
      if (!event.key.startsWith("Arrow")) return;
      event.preventDefault();
      step(chart, event.key);
    });
  }
})();
