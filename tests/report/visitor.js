// What a visitor does with the report; appended to a page whose policy is opened for it.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const found = {};
const step = (name, action) => { try { found[name] = action(); } catch (error) { found[name] = String(error); } };
const shown = () => all(".view").filter((view) => !view.hidden);
const figure = document.querySelector("figure");
const press = (text, root = figure) => all("button", root).find((one) => one.textContent === text).click();
const chart = () => figure.querySelector(".view:not([hidden]) svg.chart");
const tip = document.querySelector(".tip");
window.alert = () => { found.hacked = true; };
step("js", () => document.documentElement.classList.contains("js"));
step("charts", () => shown().map((v) => all("path.line", v).filter((p) => p.getBoundingClientRect().width > 0).length));
step("drawn", () => all("path.line").length);
step("hidden", () => {
  press("fedavg");
  const gone = all("figure[data-scope=methods] path[data-key='1']").every((path) => path.style.display === "none");
  const told = all("figure[data-scope=methods] .key[data-key='1']").map((key) => key.getAttribute("aria-pressed"));
  const others = all("path.line[data-key='0']").some((path) => path.style.display === "none");
  press("fedavg");
  const back = all("path[data-key='1']").every((path) => path.style.display !== "none");
  return [gone, [...new Set(told)], others, back];
});
step("picked", () => {
  const words = [];
  for (const word of ["loss", "global", "training loss", "macro-F1", "own, served"]) {
    press(word);
    const pressed = all(".picker [aria-pressed=true]", figure).map((one) => one.textContent);
    const shownHere = all(".view:not([hidden])", figure).length;
    words.push([chart().querySelector("title").textContent, pressed.join("/"), shownHere]);
  }
  return words;
});
step("keys", () => {
  chart().focus();
  const told = [];
  for (const key of ["ArrowRight", "ArrowRight", "ArrowDown", "Escape"]) {
    chart().dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    told.push(tip.hidden ? "" : tip.textContent);
  }
  return told;
});
step("client", () => {
  const clients = all("figure")[1].querySelector("svg.chart");
  clients.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  return tip.textContent;
});
step("focusable", () => all("svg.chart, button, summary").every((one) => one.tabIndex === 0));
step("foreign", () => all("img, b, [onclick], [onerror]").length);
step("wide", () => [window.innerWidth, document.documentElement.scrollWidth <= window.innerWidth]);
step("described", () => all("svg.chart").every((one) => one.querySelector("title") && one.querySelector("desc")));
step("tables", () => all(".view").every((view) => view.querySelector("details table td")));
const box = chart().getBoundingClientRect();
const place = { clientX: box.right - 10, clientY: box.top + 50 };
chart().dispatchEvent(new PointerEvent("pointermove", { ...place, bubbles: true }));
setTimeout(() => {
  found.pointed = tip.hidden ? "" : tip.textContent;
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  parent.document.body.append(out);
}, 300);
