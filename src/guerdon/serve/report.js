"use strict";
const root = document.documentElement, data = JSON.parse(document.getElementById("data").textContent);

const button = document.getElementById("theme");
const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
button.hidden = false;
button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; });

const short = v => {
  const [d, s] = Math.abs(v) >= 1e6 ? [1e6, "M"] : Math.abs(v) >= 1e4 ? [1e3, "k"] : [1, ""];
  return String(Number((v / d).toPrecision(3))) + s;
};
const at = (xs, ys, x) => {  // linear between the points; nothing outside them
  if (x < xs[0] || x > xs[xs.length - 1]) return null;
  let i = xs.findIndex(v => v >= x);
  if (i === 0) return ys[0];
  const share = (x - xs[i - 1]) / (xs[i] - xs[i - 1] || 1);
  return ys[i - 1] + share * (ys[i] - ys[i - 1]);
};

for (const figure of document.querySelectorAll("figure[data-chart]")) {
  const chart = data.charts[figure.dataset.chart], svg = figure.querySelector("svg"), box = svg.viewBox.baseVal;
  const cross = document.createElementNS(svg.namespaceURI, "path");
  const tip = Object.assign(document.createElement("div"), {className: "tip", hidden: true});
  cross.setAttribute("class", "cross");
  svg.append(cross);
  figure.append(tip);
  const hide = () => { tip.hidden = true; cross.removeAttribute("d"); };
  const show = event => {
    const rect = svg.getBoundingClientRect(), scale = rect.width / box.width;
    const px = Math.min(Math.max((event.clientX - rect.left) / scale, data.left), data.right);
    const step = (px - data.left) / (data.right - data.left) * chart.end;
    cross.setAttribute("d", `M${px} ${data.top}V${data.bottom}`);
    tip.replaceChildren(`step ${short(step)}`);
    for (const line of chart.lines) {
      const value = at(line.x, line.y, step);
      if (value === null) continue;
      const row = document.createElement("div"), swatch = document.createElement("i"), bold = document.createElement("b");
      swatch.className = `swatch c${line.c}`;
      bold.textContent = short(value);
      row.append(swatch, line.name, bold);
      tip.append(row);
    }
    tip.hidden = false;
    const x = px * scale, width = tip.offsetWidth;
    tip.style.left = `${Math.max(0, x + width + 24 < figure.clientWidth ? x + 20 : x - width - 4)}px`;
    tip.style.top = "44px";
  };
  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerdown", show);
  svg.addEventListener("pointerleave", hide);
}
