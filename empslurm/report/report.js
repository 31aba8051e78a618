"use strict";
(() => {
  const key = (cell) => {
    const given = cell.dataset.v;
    if (given !== undefined) return given === "" ? null : Number(given);
    const text = cell.textContent.trim();
    return text === "" || text === "—" ? null : text.toLowerCase();
  };
  // What is missing stays at the end, whichever way a column is sorted.
  const compare = (one, two, sign) => {
    if (one === null || two === null) return (one === null) - (two === null);
    if (typeof one === "number" && typeof two === "number") return sign * (one - two);
    return sign * String(one).localeCompare(String(two));
  };
  const sort = (header) => {
    const table = header.closest("table");
    const up = header.getAttribute("aria-sort") !== "ascending";
    const at = header.cellIndex;
    const rows = [...table.tBodies[0].rows];
    const keyed = rows.map((row, place) => [key(row.cells[at]), place, row]);
    keyed.sort((a, b) => compare(a[0], b[0], up ? 1 : -1) || a[1] - b[1]);
    table.tBodies[0].append(...keyed.map((item) => item[2]));
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
  };
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const download = (button) => {
    const table = document.getElementById(button.dataset.table);
    const names = [...table.tHead.rows[table.tHead.rows.length - 1].cells].map((cell) => cell.dataset.name);
    const lines = [names, ...[...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.dataset.v ?? cell.textContent.trim()))];
    const text = lines.map((line) => line.map(quoted).join(",")).join("\n") + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = `${button.dataset.table}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  document.addEventListener("click", (event) => {
    const header = event.target.closest("th button");
    if (header) sort(header.closest("th"));
    const get = event.target.closest("button.get");
    if (get) download(get);
  });
  const tip = document.getElementById("tip");
  const show = (event) => {
    const cell = event.target.closest("[data-tip]");
    tip.hidden = !cell;
    if (!cell) return;
    tip.textContent = cell.dataset.tip;
    const place = cell.getBoundingClientRect();
    const left = Math.min(place.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    const below = place.bottom + 6;
    const fits = below + tip.offsetHeight < document.documentElement.clientHeight;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${fits ? below : Math.max(4, place.top - tip.offsetHeight - 6)}px`;
  };
  document.addEventListener("pointerover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("scroll", () => { tip.hidden = true; }, true);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
})();
