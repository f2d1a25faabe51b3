/* Curves: several runs over each other, zoom that all share, smoothing, values under the cursor. */
const SVG = "http://www.w3.org/2000/svg";
const LEFT = 46, BOTTOM = 20, TOP = 6, HEIGHT = 150;

function curves() {
  const end = Math.max(1, ...DATA.charts.flatMap((chart) => chart.series.flatMap((s) => s.x)));
  const view = { from: 0, to: end, smoothing: 0, logarithmic: false, hidden: new Set() };
  const tools = { smoothing: find("smoothing"), from: find("from"), to: find("to"), log: find("logarithmic") };
  const drawn = [];

  const shape = (name, attributes, parent) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    parent?.append(node);
    return node;
  };
  const short = (v) => {
    const size = Math.abs(v);
    if (v === 0) return "0";
    if (size >= 1e5) return v.toExponential(1).replace("e+", "e");
    return size < 1e-3 ? v.toExponential(1) : String(Number(v.toPrecision(size >= 1000 ? 4 : 3)));
  };

  function smooth(values) {
    const reach = Math.round((values.length * view.smoothing) / 200);
    if (!reach) return values;
    return values.map((own, n) => {
      if (own === null) return null;
      let sum = 0, count = 0;
      for (const v of values.slice(Math.max(0, n - reach), n + reach + 1)) {
        if (v !== null) { sum += v; count++; }
      }
      return sum / count;
    });
  }

  function ticks(low, high) {
    const step = 10 ** Math.floor(Math.log10((high - low) / 2 || 1));
    const width = [5, 2, 1].map((k) => k * step).find((w) => (high - low) / w >= 2) ?? step;
    const found = [];
    for (let v = Math.ceil(low / width) * width; v <= high + width * 1e-6; v += width) found.push(Math.abs(v) < width * 1e-6 ? 0 : v);
    return found.slice(0, 6);
  }

  /* A chart draws itself again after each change; `plot` keeps what the cursor reads. */
  function draw(chart) {
    const { svg, series } = chart;
    const width = Math.max(120, svg.clientWidth || 300), right = width - 4;
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.replaceChildren();
    const scale = (v) => (view.logarithmic ? Math.log10(v) : v);
    const usable = (v) => v !== null && v !== undefined && (!view.logarithmic || v > 0);
    const visible = series.filter((s) => !view.hidden.has(s.run)).map((s) => ({ ...s, mean: s.low ? s.y : smooth(s.y) }));
    let low = Infinity, high = -Infinity;
    for (const s of visible) {
      s.x.forEach((x, n) => {
        if (x < view.from || x > view.to) return;
        for (const v of [s.y[n], s.low?.[n], s.high?.[n]]) {
          if (usable(v)) { low = Math.min(low, scale(v)); high = Math.max(high, scale(v)); }
        }
      });
    }
    if (low > high) { low = 0; high = 1; }
    if (high - low < 1e-12 * Math.max(1, Math.abs(high))) { const pad = Math.abs(high) * 0.1 || 0.5; low -= pad; high += pad; }
    const atX = (x) => LEFT + ((right - LEFT) * (x - view.from)) / (view.to - view.from);
    const atY = (v) => TOP + (HEIGHT - BOTTOM - TOP) * (1 - (scale(v) - low) / (high - low));
    for (const tick of ticks(low, high)) {
      const y = atY(view.logarithmic ? 10 ** tick : tick);
      shape("path", { class: "grid", d: `M${LEFT} ${y}H${right}` }, svg);
      shape("text", { class: "tick", x: LEFT - 6, y: y + 4, "text-anchor": "end" }, svg).textContent = short(view.logarithmic ? 10 ** tick : tick);
    }
    for (const [x, anchor] of [[view.from, "start"], [view.to, "end"]]) {
      shape("text", { class: "tick", x: atX(x), y: HEIGHT - 5, "text-anchor": anchor }, svg).textContent = Math.round(x).toLocaleString("en");
    }
    const path = (s, values) => {
      let d = "", pen = "M";
      s.x.forEach((x, n) => {
        const near = s.x[Math.min(n + 1, s.x.length - 1)] >= view.from && s.x[Math.max(n - 1, 0)] <= view.to;
        if (!near) return;
        if (!usable(values[n])) { pen = "M"; return; }
        d += `${pen}${atX(x).toFixed(1)} ${atY(values[n]).toFixed(1)}`;
        pen = "L";
      });
      return d;
    };
    const clip = `clip-${chart.number}`;
    shape("rect", { x: LEFT, y: 0, width: right - LEFT, height: HEIGHT - BOTTOM + 2 }, shape("clipPath", { id: clip }, svg));
    const group = shape("g", { "clip-path": `url(#${clip})` }, svg);
    for (const s of visible) {
      const run = `r${s.run % 8}`;
      if (s.low) {
        const points = s.x.map((x, n) => [x, s.low[n], s.high[n]]).filter(([, a, b]) => usable(a) && usable(b));
        const upper = points.map(([x, , b]) => `${atX(x).toFixed(1)} ${atY(b).toFixed(1)}`);
        const lower = points.map(([x, a]) => `${atX(x).toFixed(1)} ${atY(a).toFixed(1)}`).reverse();
        if (points.length) shape("path", { class: `band ${run}`, d: `M${[...upper, ...lower].join("L")}Z` }, group);
      } else if (view.smoothing) {
        shape("path", { class: `raw ${run}`, d: path(s, s.y) }, group);
      }
      shape("path", { class: `mean ${run}`, d: path(s, s.mean) }, group);
      if (s.x.length < 13) {
        s.x.forEach((x, n) => usable(s.y[n]) && shape("circle", { class: `dot ${run}`, cx: atX(x), cy: atY(s.mean[n]), r: 2.5 }, group));
      }
    }
    chart.cursor = shape("path", { class: "cursor", d: "" }, svg);
    chart.selected = shape("rect", { class: "select", y: 0, height: HEIGHT - BOTTOM, width: 0 }, svg);
    chart.plot = { visible, atX, toX: (px) => view.from + ((view.to - view.from) * (px - LEFT)) / (right - LEFT), right };
    read(chart, null);
  }

  const nearest = (xs, x) => xs.reduce((best, each, n) => (Math.abs(each - x) < Math.abs(xs[best] - x) ? n : best), 0);

  /* Show the values at `x`, in images; null: the last ones. */
  function read(chart, x) {
    const { visible, atX } = chart.plot;
    chart.at = x;
    const texts = visible.map((s) => {
      const n = x === null ? s.x.length - 1 : nearest(s.x, x);
      const v = s.mean[n];
      return v === null || v === undefined ? "–" : short(v);
    });
    const position = x === null ? "" : ` at ${Math.round(x).toLocaleString("en")}`;
    chart.output.textContent = texts.join(" · ") + position;
    chart.cursor.setAttribute("d", x === null ? "" : `M${atX(x)} 0V${HEIGHT - BOTTOM}`);
  }

  function redraw() {
    find("smoothing").nextElementSibling.textContent = `${view.smoothing} %`;
    for (const name of ["from", "to"]) {
      tools[name].value = (1000 * view[name]) / end;
      const text = `${Math.round(view[name]).toLocaleString("en")}`;
      tools[name].nextElementSibling.textContent = text;
      tools[name].setAttribute("aria-valuetext", `${text} images`);
    }
    drawn.forEach(draw);
  }

  function zoom(from, to) {
    const least = end / 200;
    view.from = Math.min(Math.max(0, from), end - least);
    view.to = Math.max(Math.min(end, to), view.from + least);
    redraw();
  }

  function listen(chart) {
    const { svg } = chart;
    let start = null;
    const position = (event) => {
      const px = event.clientX - svg.getBoundingClientRect().left;
      return Math.min(Math.max(px, LEFT), chart.plot.right);
    };
    const onPoint = (x) => {
      const first = chart.plot.visible[0];
      return first ? first.x[nearest(first.x, x)] : x;
    };
    svg.addEventListener("pointerdown", (event) => { if (event.pointerType === "mouse") { start = position(event); svg.setPointerCapture(event.pointerId); } });
    svg.addEventListener("pointermove", (event) => {
      const now = position(event);
      read(chart, onPoint(chart.plot.toX(now)));
      if (start === null) return;
      chart.selected.setAttribute("x", Math.min(start, now));
      chart.selected.setAttribute("width", Math.abs(now - start));
    });
    svg.addEventListener("pointerup", (event) => {
      if (start === null) return;
      const sides = [start, position(event)].sort((a, b) => a - b).map(chart.plot.toX);
      const far = Math.abs(position(event) - start) > 8;
      start = null;
      chart.selected.setAttribute("width", 0);
      if (far) zoom(...sides);
    });
    svg.addEventListener("pointerleave", () => { if (start === null) read(chart, null); });
    svg.addEventListener("dblclick", () => zoom(0, end));
    svg.addEventListener("keydown", (event) => {
      const xs = (chart.plot.visible[0]?.x ?? []).filter((x) => x >= view.from && x <= view.to);
      if (!xs.length) return;
      const at = chart.at ?? xs[xs.length - 1], n = nearest(xs, at), half = (view.to - view.from) / 2;
      const actions = {
        ArrowLeft: () => read(chart, xs[Math.max(0, n - 1)]),
        ArrowRight: () => read(chart, xs[Math.min(xs.length - 1, n + 1)]),
        Home: () => read(chart, xs[0]),
        End: () => read(chart, xs[xs.length - 1]),
        "+": () => zoom(at - half / 2, at + half / 2),
        "=": () => zoom(at - half / 2, at + half / 2),
        "-": () => zoom(view.from - half, view.to + half),
        Escape: () => zoom(0, end),
        0: () => zoom(0, end),
      };
      if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      actions[event.key]();
    });
  }

  DATA.charts.forEach(({ group, title, series }, number) => {
    const place = [...document.querySelectorAll(".charts")].find((node) => node.dataset.group === group);
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const label = document.createElement("span"), output = document.createElement("output");
    const svg = shape("svg", { tabindex: 0, role: "group", "aria-label": `Curve of ${title}`, height: HEIGHT });
    label.textContent = title;
    caption.append(label, output);
    figure.append(caption, svg);
    place.append(figure);
    const chart = { number, series, svg, output, at: null };
    drawn.push(chart);
    listen(chart);
  });

  if (DATA.runs.length > 1) {
    DATA.runs.forEach((name, run) => {
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.checked = true;
      box.addEventListener("change", () => { view.hidden[box.checked ? "delete" : "add"](run); redraw(); });
      const line = shape("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" });
      shape("path", { class: `mean r${run % 8}`, d: "M0 5H26" }, line);
      label.append(box, line, name);
      find("legend").append(label);
    });
  }
  tools.smoothing.addEventListener("input", () => { view.smoothing = Number(tools.smoothing.value); redraw(); });
  tools.from.addEventListener("input", () => zoom(Math.min((tools.from.value * end) / 1000, view.to - end / 200), view.to));
  tools.to.addEventListener("input", () => zoom(view.from, Math.max((tools.to.value * end) / 1000, view.from + end / 200)));
  tools.log.addEventListener("change", () => { view.logarithmic = tools.log.checked; redraw(); });
  find("reset-zoom").addEventListener("click", () => zoom(0, end));
  view.smoothing = Number(tools.smoothing.value);
  let width = 0;
  new ResizeObserver(() => { if (innerWidth !== width) { width = innerWidth; redraw(); } }).observe(document.body);
  addEventListener("beforeprint", redraw);
  redraw();
}
if (find("curve-tools")) curves();
