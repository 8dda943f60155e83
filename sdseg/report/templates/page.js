"use strict";

// Sorting: the table's own headings become buttons; rows without a value stay at the end.
function makeSortable(table, chooser, status) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const usual = { text: 1, low: 1, high: -1 };

  function sort(column, direction) {
    const kind = headings[column].dataset.sort;
    const valueOf = (row) => {
      const text = row.cells[column].dataset.value;
      return text === undefined || kind === "text" ? text : Number(text);
    };
    const rows = [...body.rows].sort((one, other) => {
      const [a, b] = [valueOf(one), valueOf(other)];
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return direction * (kind === "text" ? a.localeCompare(b) : a - b);
    });
    body.append(...rows);
    headings.forEach((heading) => heading.removeAttribute("aria-sort"));
    headings[column].setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    chooser.value = `${column}:${direction}`;
    status.textContent = `Sorted by ${headings[column].textContent.trim()}, ${direction > 0 ? "ascending" : "descending"}`;
  }

  headings.forEach((heading, column) => {
    const kind = heading.dataset.sort;
    if (!kind) return;
    const name = heading.textContent.trim();
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      sort(column, now ? (now === "ascending" ? -1 : 1) : usual[kind]);
    });
    for (const direction of [usual[kind], -usual[kind]]) {
      const words = kind === "text" ? ["A to Z", "Z to A"] : ["lowest first", "highest first"];
      chooser.add(new Option(`${name}, ${words[direction > 0 ? 0 : 1]}`, `${column}:${direction}`));
    }
  });
  chooser.addEventListener("change", () => sort(...chooser.value.split(":").map(Number)));
  chooser.value = "0:1"; // the order the page was written in
  chooser.closest("[hidden]").hidden = false;
}

// Enlarging: one dialog for all pictures; the browser brings the focus back to the picture that opened it.
function makeEnlargeable(buttons, dialog) {
  const part = (name) => dialog.querySelector(`#viewer-${name}`);
  let shown = 0;

  function show(index) {
    shown = (index + buttons.length) % buttons.length;
    const picture = buttons[shown].querySelector("img");
    part("image").src = picture.src;
    part("image").alt = picture.alt;
    part("image").className = picture.className;
    part("caption").textContent = buttons[shown].dataset.caption;
    if (!dialog.open) dialog.showModal();
  }

  buttons.forEach((button, index) => button.addEventListener("click", () => show(index)));
  part("previous").addEventListener("click", () => show(shown - 1));
  part("next").addEventListener("click", () => show(shown + 1));
  part("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(shown - 1);
    if (event.key === "ArrowRight") show(shown + 1);
  });
}

// Volumes: one slice at a time on a canvas, with the outlines over it. The slider brings its own keys.
function makeScrollable(place) {
  const volumes = JSON.parse(place.querySelector("script").textContent);
  const canvas = place.querySelector("canvas");
  const pen = canvas.getContext("2d");
  const [slider, chooser, output] = ["input[type=range]", "select", "output"].map((name) => place.querySelector(name));
  const ticks = [...place.querySelectorAll("[data-shows]")];
  const colours = { label: "#00c8ff", prediction: "#ffe100" };
  const widths = { label: 6, prediction: 3 };
  const longest = canvas.width;
  const pair = (size) => (Array.isArray(size) ? size : [size, size]); // height and width; one number of a square
  let volume, sheet;

  function draw() {
    const index = Number(slider.value) - 1;
    const [height, width] = pair(volume.tile);
    const words = `Slice ${index + 1} of ${volume.slices}`;
    output.textContent = words;
    slider.setAttribute("aria-valuetext", words);
    canvas.setAttribute("aria-label", `${words} of ${volume.case}`);
    canvas.dataset.slice = index + 1;
    if (!sheet.complete || sheet.naturalWidth === 0) return;
    const [left, top] = [index % volume.columns, Math.floor(index / volume.columns)];
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.imageSmoothingEnabled = Math.min(height, width) > 128; // few pixels are to be seen as such
    pen.drawImage(sheet, left * width, top * height, width, height, 0, 0, canvas.width, canvas.height);
    const scale = canvas.width / pair(volume.size)[1];
    pen.setTransform(scale, 0, 0, scale, scale / 2, scale / 2);
    pen.lineJoin = pen.lineCap = "round";
    const shown = ticks.filter((tick) => tick.checked).map((tick) => tick.dataset.shows);
    const paths = shown.map((name) => [name, new Path2D(volume[name][index])]);
    const stroke = (path, colour, width) => {
      pen.strokeStyle = colour;
      pen.lineWidth = width / scale;
      pen.stroke(path);
    };
    for (const [name, path] of paths) stroke(path, "#000", widths[name] + 2); // every halo first
    for (const [name, path] of paths) stroke(path, colours[name], widths[name]);
  }

  function choose(number) {
    volume = volumes[number];
    const [rows, columns] = pair(volume.size);
    const scale = longest / Math.max(rows, columns);
    [canvas.width, canvas.height] = [Math.round(columns * scale), Math.round(rows * scale)];
    slider.max = volume.slices;
    slider.value = volume.first + 1;
    sheet = new Image();
    sheet.addEventListener("load", draw);
    sheet.src = volume.source;
    draw();
  }

  slider.addEventListener("input", draw);
  ticks.forEach((tick) => tick.addEventListener("change", draw));
  if (chooser) chooser.addEventListener("change", () => choose(Number(chooser.value)));
  place.querySelector(".controls").hidden = false;
  choose(0);
}

const overview = document.querySelector("table.overview");
if (overview) makeSortable(overview, document.getElementById("sort-by"), document.getElementById("sorted"));
makeEnlargeable([...document.querySelectorAll("button.enlarge")], document.getElementById("viewer"));
document.querySelectorAll(".volume").forEach(makeScrollable);
