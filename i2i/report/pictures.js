"use strict";
/* Sliders over pictures: before | after, training time, and the validation set. */
const DATA = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);

function pair(stage, before, after) {
  for (const image of stage.querySelectorAll("img")) {
    const role = image.classList[0];
    image.classList.toggle("on-top", role === after && before !== after);
    image.classList.toggle("off", role !== before && role !== after);
  }
  const slider = stage.querySelector(".split");
  const text = () => `${slider.value} % ${before}, ${100 - slider.value} % ${after}`;
  if (slider) {
    slider.oninput = () => {
      stage.style.setProperty("--split", slider.value / 100);
      slider.setAttribute("aria-valuetext", text());
    };
    slider.oninput();
  }
  const caption = stage.parentElement.querySelector(".before");
  if (caption) {
    caption.textContent = before;
    caption.nextElementSibling.textContent = before === after ? "" : after;
  }
}

for (const stage of document.querySelectorAll(".stage")) {
  pair(stage, stage.dataset.before, stage.querySelector(".output") ? "output" : stage.dataset.after);
}

/* -- fixed samples over time --------------------------------------------------------------------- */

function overTime() {
  const slider = find("step"), play = find("play");
  const { steps, cells, uris } = DATA.samples;
  const pictures = [...document.querySelectorAll("[data-cell]")].map((image) => {
    const [sample, column] = image.dataset.cell.split(",");
    return [image, cells[sample][column]];
  });
  const show = () => {
    const step = Number(slider.value);
    for (const [image, indices] of pictures) {
      const uri = uris[indices[step]];
      if (image.src !== uri) image.src = uri;
    }
    const text = `${steps[step].toLocaleString("en")} images`;
    find("step-text").textContent = text;
    slider.setAttribute("aria-valuetext", text);
  };
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.setAttribute("aria-pressed", "false");
    play.textContent = "Play";
  };
  slider.addEventListener("input", () => { stop(); show(); });
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(slider.value) === steps.length - 1) slider.value = 0;
    play.setAttribute("aria-pressed", "true");
    play.textContent = "Pause";
    show();
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      show();
      if (Number(slider.value) === steps.length - 1) stop();
    }, 450);
  });
  play.hidden = steps.length < 2;
  show();
}
if (find("step")) overTime();

/* -- validation set ------------------------------------------------------------------------------ */

const BINS = 24, PAGE = 24;

function validation() {
  const { metrics, scores } = DATA.gallery;
  const grid = document.querySelector(".gallery");
  const cards = [...grid.children];
  const state = { bin: null, limit: PAGE };
  const chosen = (id, missing) => (find(id) ? find(id).value : missing);
  const metric = () => Number(chosen("metric", 0));
  const value = (rank) => scores[rank][1 + metric()] ?? null;
  const inDirection = (rank) => scores[rank][0] === Number(chosen("direction", 0));
  const text = (number) => (number === null ? "–" : number.toFixed(metrics[metric()].decimals));

  function histogram() {
    const bins = find("bins");
    if (!bins || !metrics.length) return;
    const values = scores.map((_, rank) => rank).filter(inDirection).map(value).filter((v) => v !== null);
    const low = Math.min(...values), high = Math.max(...values), width = (high - low) / BINS || 1;
    const counts = Array(BINS).fill(0);
    for (const v of values) counts[Math.min(BINS - 1, Math.floor((v - low) / width))]++;
    const most = Math.max(...counts, 1);
    bins.replaceChildren(...counts.map((count, index) => {
      const button = document.createElement("button"), bar = document.createElement("span");
      const range = [low + index * width, low + (index + 1) * width];
      button.type = "button";
      button.disabled = !count;
      button.setAttribute("aria-pressed", "false");
      const label = `${text(range[0])} to ${text(range[1])}: ${count} ${count === 1 ? "image" : "images"}`;
      button.setAttribute("aria-label", label);
      button.title = label;
      bar.style.height = `${(100 * count) / most}%`;
      button.append(bar);
      button.addEventListener("click", () => {
        const same = state.bin && state.bin.index === index;
        state.bin = same ? null : { index, last: index === BINS - 1, low: range[0], high: range[1] };
        state.limit = PAGE;
        for (const other of bins.children) other.setAttribute("aria-pressed", String(!same && other === button));
        cardsShown();
        if (!same) find("shown").scrollIntoView({ block: "nearest" });
      });
      return button;
    }));
    const ends = values.length ? [text(low), metrics[metric()].title, text(high)] : ["no finite values"];
    find("bin-ends").replaceChildren(...ends.map((end) => Object.assign(document.createElement("span"), { textContent: end })));
  }

  function cardsShown() {
    const { bin } = state;
    const fits = (rank) => {
      if (!inDirection(rank)) return false;
      if (!bin) return true;
      const v = value(rank);
      return v !== null && v >= bin.low && (bin.last || v < bin.high);
    };
    const worst = chosen("order", "worst") === "worst";
    const up = metrics.length && metrics[metric()].higher === worst ? 1 : -1;
    const key = (card) => value(Number(card.dataset.rank));
    const last = (a, b) => (a === null) - (b === null);
    const sorted = cards.slice().sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      return last(a, b) || up * (a - b) || one.dataset.rank - other.dataset.rank;
    });
    if (metrics.length) grid.append(...sorted);
    let shown = 0, fitting = 0;
    for (const card of sorted) {
      const rank = Number(card.dataset.rank);
      const fit = fits(rank);
      fitting += fit;
      card.hidden = !fit || shown >= state.limit;
      shown += !card.hidden;
      const label = card.querySelector(".metric");
      if (metrics.length) label.textContent = text(value(rank));
    }
    const all = scores.filter((_, rank) => fits(rank)).length;
    const range = bin ? ` from ${text(bin.low)} to ${text(bin.high)}` : "";
    const pictures = fitting < all ? `, ${fitting} of them with pictures here` : "";
    find("shown").textContent = `${all} ${all === 1 ? "image" : "images"}${range}${pictures}`;
    find("more").hidden = shown === fitting;
  }

  const restart = () => { state.bin = null; state.limit = PAGE; histogram(); cardsShown(); };
  for (const id of ["metric", "direction", "order"]) find(id)?.addEventListener("change", restart);
  find("compare")?.addEventListener("change", (event) => {
    const roles = event.target.value.split(",");
    for (const stage of grid.querySelectorAll(".stage")) pair(stage, ...roles);
  });
  find("more").addEventListener("click", () => { state.limit += 2 * PAGE; cardsShown(); });
  restart();
}
if (document.querySelector(".gallery")) validation();
