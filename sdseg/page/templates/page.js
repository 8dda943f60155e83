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

makeSortable(
  document.querySelector("table.overview"),
  document.getElementById("sort-by"),
  document.getElementById("sorted"),
);
makeEnlargeable([...document.querySelectorAll("button.enlarge")], document.getElementById("viewer"));
