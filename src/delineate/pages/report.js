// The interactive part of a report: a slider that moves the threshold over pictures, numbers and
// curves, and a large view of each picture. Everything it draws comes from #page-data; the page
// says the same without it, at the model's own thresholds.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const byId = (id) => document.getElementById(id);
  const PREDICTION = 2, ERRORS = 3; // columns of a strip: image, truth, prediction, errors
  const TINT = 102, STRONG = 230, SOFT = 153, UNDECIDED = [90, 90, 90];

  // Each class has its own level; a multiclass task has one, of confidence.
  const levels = data.classes.map((entry) => entry.start);
  const isMoved = () => data.classes.some((entry, index) => levels[index] !== entry.start);
  let current = 0;

  // ---- numbers and curves -----------------------------------------------------------------
  const ratio = (part, whole) => (whole > 0 ? part / whole : null);
  const show = (value) => (value === null ? "–" : value.toFixed(3));

  function scoresAt(entry, level) {
    if (data.mode === "confidence") {
      return {
        coverage: ratio(entry.total[level], entry.total[0]),
        accuracy: ratio(entry.right[level], entry.total[level]),
      };
    }
    const tp = entry.tp[level], fp = entry.fp[level];
    const fn = entry.positives - tp, tn = entry.negatives - fp;
    return {
      dice: ratio(2 * tp, 2 * tp + fp + fn),
      iou: ratio(tp, tp + fp + fn),
      precision: ratio(tp, tp + fp),
      recall: ratio(tp, tp + fn),
      specificity: ratio(tn, tn + fp),
      falseAlarms: ratio(fp, fp + tn),
    };
  }

  function moveMark(key, x, y, text) {
    const mark = document.querySelector(`[data-mark="${key}"]`);
    if (!mark || x === null || y === null) return;
    const plot = data.plot;
    const across = plot.left + x * plot.width, down = plot.top + (1 - y) * plot.height;
    mark.setAttribute("transform", `translate(${across} ${down})`);
    const label = mark.querySelector("text");
    label.textContent = text;
    label.setAttribute("x", x > 0.6 ? -9 : 9);
    label.setAttribute("y", y > 0.5 ? 18 : -10);
    label.setAttribute("text-anchor", x > 0.6 ? "end" : "start");
  }

  const write = (value) => value.toFixed(value < 0.01 || value > 0.99 ? 4 : 3);

  function moveMarks(index) {
    const entry = data.classes[index], level = levels[index];
    const value = entry.levels[level], scores = scoresAt(entry, level);
    if (data.mode === "threshold") {
      moveMark(`pr-${index}`, scores.recall, scores.precision, write(value));
      moveMark(`roc-${index}`, scores.falseAlarms, scores.recall, write(value));
      moveMark(`dice-${index}`, value, scores.dice, write(value));
    } else {
      moveMark("coverage", scores.coverage, scores.accuracy, write(value));
    }
  }

  function showNumbers() {
    const entry = data.classes[current], level = levels[current];
    const scores = scoresAt(entry, level), text = write(entry.levels[level]);
    byId("control-level").value = level;
    byId("control-level").setAttribute("aria-valuetext", text);
    byId("control-value").textContent = text;
    byId("control-reset").disabled = !isMoved();
    for (const cell of document.querySelectorAll("[data-number]")) {
      cell.textContent = show(scores[cell.dataset.number] ?? null);
    }
  }

  // ---- pictures ---------------------------------------------------------------------------
  async function readPlanes(example) {
    if (!example.planes) {
      example.planes = await Promise.all(example.sources.map(async (source) => {
        const image = new Image();
        image.src = source;
        await image.decode();
        const canvas = document.createElement("canvas");
        canvas.width = example.width;
        canvas.height = example.height;
        const context = canvas.getContext("2d", { willReadFrequently: true });
        context.drawImage(image, 0, 0);
        return context.getImageData(0, 0, example.width, example.height).data;
      }));
    }
    return example.planes;
  }

  // The prediction and the truth at the levels of now. A plane holds, per pixel, how many levels
  // the probability reaches, the true label (255 does not count), and the most probable class.
  function classify(planes, count) {
    const size = data.classes.length;
    if (data.mode === "confidence") {
      const plane = planes[0], level = levels[0];
      const mask = new Uint8Array(count), truth = new Uint8Array(count);
      for (let i = 0; i < count; i++) {
        truth[i] = plane[4 * i + 1];
        mask[i] = plane[4 * i] > level ? plane[4 * i + 2] : 255;
      }
      return { kind: "labels", mask, truth };
    }
    const layers = [];
    for (let k = 0; k < size; k++) {
      const plane = planes[k], level = levels[k];
      const mask = new Uint8Array(count), truth = new Uint8Array(count);
      for (let i = 0; i < count; i++) {
        truth[i] = plane[4 * i + 1];
        mask[i] = plane[4 * i] > level ? 1 : 0;
      }
      layers.push({ mask, truth });
    }
    return { kind: "layers", layers };
  }

  function paint(out, i, colour, opacity) {
    out[4 * i] = colour[0];
    out[4 * i + 1] = colour[1];
    out[4 * i + 2] = colour[2];
    out[4 * i + 3] = opacity;
  }

  function outlines(labels, width, height, visit) {
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const own = labels[i];
        const isRim = (x > 0 && labels[i - 1] !== own) || (x < width - 1 && labels[i + 1] !== own)
          || (y > 0 && labels[i - width] !== own) || (y < height - 1 && labels[i + width] !== own);
        visit(i, own, isRim);
      }
    }
  }

  function drawPrediction(out, found, width, height) {
    if (found.kind === "labels") {
      outlines(found.mask, width, height, (i, own, isRim) => {
        if (own === 255) paint(out, i, UNDECIDED, STRONG);
        else if (own !== data.background) paint(out, i, data.colours[own], isRim ? 255 : TINT);
      });
      return;
    }
    found.layers.forEach((layer, k) => outlines(layer.mask, width, height, (i, own, isRim) => {
      if (own) paint(out, i, data.colours[k], isRim ? 255 : TINT);
    }));
  }

  function drawErrors(out, found, count) {
    const colours = data.errors;
    for (let i = 0; i < count; i++) {
      let isFound = false, isExtra = false, isMissed = false, isIgnored = true;
      if (found.kind === "labels") {
        const mask = found.mask[i], truth = found.truth[i];
        isIgnored = truth === 255;
        if (mask === 255 && !isIgnored) { paint(out, i, UNDECIDED, STRONG); continue; }
        const inMask = mask !== data.background, inTruth = truth !== data.background;
        isExtra = inMask && mask !== truth;
        isMissed = inTruth && mask !== truth;
      } else {
        for (const layer of found.layers) {
          if (layer.truth[i] === 255) continue;
          isIgnored = false;
          isFound ||= layer.mask[i] === 1 && layer.truth[i] === 1;
          isExtra ||= layer.mask[i] === 1 && layer.truth[i] === 0;
          isMissed ||= layer.mask[i] === 0 && layer.truth[i] === 1;
        }
      }
      if (isIgnored) paint(out, i, [0, 0, 0], 255);
      else if (isExtra && isMissed) paint(out, i, colours["wrong class"], STRONG);
      else if (isExtra) paint(out, i, colours["false alarm"], STRONG);
      else if (isMissed) paint(out, i, colours.missed, STRONG);
      else if (isFound) paint(out, i, colours.found, SOFT);
    }
  }

  async function draw(article) {
    const example = data.examples[Number(article.dataset.example)];
    const views = article.querySelectorAll(".layers");
    for (const view of views) {
      const canvas = view.querySelector("canvas"), image = view.querySelector("img");
      if (canvas) canvas.hidden = !isMoved();
      if (image && canvas) image.hidden = isMoved();
    }
    if (!isMoved() || !example.sources.length) return;
    const planes = await readPlanes(example);
    const { width, height } = example, count = width * height;
    const found = classify(planes, count);
    for (const column of [PREDICTION, ERRORS]) {
      const view = views[column];
      let canvas = view.querySelector("canvas");
      if (!canvas) {
        canvas = document.createElement("canvas");
        canvas.width = width;
        canvas.height = height;
        view.append(canvas);
      }
      const context = canvas.getContext("2d"), picture = context.createImageData(width, height);
      if (column === PREDICTION) drawPrediction(picture.data, found, width, height);
      else drawErrors(picture.data, found, count);
      context.putImageData(picture, 0, 0);
      canvas.hidden = false;
      const image = view.querySelector("img");
      if (image) image.hidden = true;
    }
  }

  const articles = [...document.querySelectorAll("[data-example]")];
  const visible = new Set(), stale = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) visible.add(entry.target);
      else visible.delete(entry.target);
    }
    refresh();
  }, { rootMargin: "200px" });
  articles.forEach((article) => watcher.observe(article));

  let isDrawing = false;
  async function refresh() {
    if (isDrawing) return;
    isDrawing = true;
    for (let next = nextStale(); next; next = nextStale()) {
      stale.delete(next);
      await draw(next);
    }
    isDrawing = false;
  }
  const nextStale = () => articles.find((article) => stale.has(article) && visible.has(article));

  function update() {
    showNumbers();
    data.classes.forEach((_, index) => moveMarks(index));
    articles.forEach((article) => stale.add(article));
    requestAnimationFrame(refresh);
  }

  const control = byId("control");
  if (control && data.classes.length) {
    const slider = byId("control-level"), choice = byId("control-class");
    const choose = () => {
      slider.max = data.classes[current].levels.length - 1;
      showNumbers();
    };
    slider.addEventListener("input", () => {
      levels[current] = Number(slider.value);
      update();
    });
    byId("control-reset").addEventListener("click", () => {
      data.classes.forEach((entry, index) => { levels[index] = entry.start; });
      update();
    });
    if (choice) {
      choice.addEventListener("change", () => {
        current = Number(choice.value);
        choose();
      });
    }
    control.hidden = false;
    choose();
  }

  // ---- the large view ---------------------------------------------------------------------
  const dialog = document.createElement("dialog");
  dialog.id = "zoom";
  dialog.setAttribute("aria-labelledby", "zoom-title");
  const make = (tag, attributes, text = "") => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  };
  const bar = make("div", { class: "zoom-bar" });
  const heading = make("h2", { id: "zoom-title" });
  const stage = make("div", { class: "zoom-stage", tabindex: "0", role: "group", "aria-label": "Picture; arrow keys move it" });
  const tabs = make("div", { class: "zoom-tabs", role: "group", "aria-label": "What to show" });
  const smaller = make("button", { type: "button", "aria-label": "Smaller" }, "−");
  const larger = make("button", { type: "button", "aria-label": "Larger" }, "+");
  const close = make("button", { type: "button" }, "Close");
  bar.append(heading, tabs, smaller, larger, close);
  dialog.append(bar, stage, make("p", { class: "note" }, "Keys: 1 to 4 switch the view, + and − zoom, arrows move, Esc closes."));
  document.body.append(dialog);
  let shown = null, column = 0, scale = 1, fit = 1;

  function copyLayers(source) {
    const copy = source.cloneNode(true);
    const from = source.querySelectorAll("canvas");
    copy.querySelectorAll("canvas").forEach((canvas, index) => canvas.getContext("2d").drawImage(from[index], 0, 0));
    return copy;
  }

  function showLarge() {
    const example = data.examples[Number(shown.dataset.example)];
    const { scrollLeft, scrollTop } = stage;
    const copy = copyLayers(shown.querySelectorAll(".layers")[column]);
    copy.style.width = `${Math.round(example.width * scale)}px`;
    stage.replaceChildren(copy);
    stage.scrollTo(scrollLeft, scrollTop);
    [...tabs.children].forEach((tab, index) => tab.setAttribute("aria-pressed", String(index === column)));
  }

  function zoomBy(factor) {
    const before = scale;
    scale = Math.min(Math.max(16, 8 * fit), Math.max(fit / 2, scale * factor));
    const middleX = stage.scrollLeft + stage.clientWidth / 2, middleY = stage.scrollTop + stage.clientHeight / 2;
    showLarge();
    stage.scrollTo(middleX * scale / before - stage.clientWidth / 2, middleY * scale / before - stage.clientHeight / 2);
  }

  function open(article, index) {
    shown = article;
    column = index;
    heading.textContent = article.querySelector("h3").textContent;
    tabs.replaceChildren(...[...article.querySelectorAll("figcaption")].map((caption, position) => {
      const tab = make("button", { type: "button" }, caption.textContent);
      tab.addEventListener("click", () => { column = position; showLarge(); });
      return tab;
    }));
    dialog.showModal();
    const example = data.examples[Number(article.dataset.example)];
    fit = Math.min(stage.clientWidth / example.width, stage.clientHeight / example.height);
    scale = fit;
    showLarge();
    stage.focus();
  }

  smaller.addEventListener("click", () => zoomBy(1 / 1.5));
  larger.addEventListener("click", () => zoomBy(1.5));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "+" || event.key === "=") zoomBy(1.5);
    else if (event.key === "-") zoomBy(1 / 1.5);
    else if (event.key >= "1" && event.key <= String(tabs.children.length)) {
      column = Number(event.key) - 1;
      showLarge();
    } else return;
    event.preventDefault();
  });
  articles.forEach((article) => {
    const button = make("button", { type: "button", class: "enlarge" }, "Enlarge");
    const title = article.querySelector("h3");
    button.setAttribute("aria-label", `Enlarge the pictures of ${title.textContent}`);
    button.addEventListener("click", () => open(article, 0));
    title.after(button);
    article.querySelectorAll(".layers").forEach((view, index) => {
      view.classList.add("clickable");
      view.addEventListener("click", () => open(article, index));
    });
  });
  document.documentElement.dataset.ready = "true";
})();
