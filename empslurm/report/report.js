"use strict";
(() => {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  // An entry is its text, or [text, marks] with the marks b (bold) and u (underlined).
  for (const table of Object.values(data.tables)) {
    table.marks = table.rows.map((row) => row.map((cell) => (typeof cell === "string" ? "" : cell[1])));
    table.rows = table.rows.map((row) => row.map((cell) => (typeof cell === "string" ? cell : cell[0])));
  }
  const PAGE = 50; // rows of a table at a time
  const FILTERED = ["source", "target", "verdict", "setting", "agreement"]; // columns that get a menu of their values
  const MARKS = { helps: "▲", harms: "▼", equivalent: "=", inconclusive: "·", undecided: "?" };

  // ---- making elements: text never becomes markup ----
  const make = (name, attributes = {}, ...inside) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value === true) element.setAttribute(key, "");
      else if (value !== false && value !== undefined && value !== null) element.setAttribute(key, value);
    }
    element.append(...inside.filter((part) => part !== null && part !== undefined && part !== ""));
    return element;
  };
  const drawn = (name, attributes = {}, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    return element;
  };
  const NUMBER = /^[+−-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?/i;
  // The number in an entry's text, without marks; null where it is missing.
  const numberOf = (text) => {
    const match = NUMBER.exec(text.replaceAll(",", ""));
    return match ? Number(match[0].replace("−", "-").replace("+", "")) : null;
  };
  const isMissing = (text) => text === "" || text === "—";

  // ---- tables: chosen columns, filters, sorting, pages, downloads ----
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const save = (name, header, rows) => {
    const text = [header, ...rows].map((row) => row.map(quoted).join(",")).join("\n") + "\n";
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  const showTable = (place) => {
    const id = place.dataset.table;
    const table = data.tables[id];
    const view = data.views.findIndex((each) => each.table === id);
    const names = table.columns.map((column) => column[0]);
    const shown = new Set(table.main.length ? table.main : names);
    const numeric = names.map((_, at) => at >= table.labels && table.rows.every((row) => isMissing(row[at]) || numberOf(row[at]) !== null));
    const order = { at: -1, up: true };
    const wanted = {};
    let first = 0;
    let rows = table.rows.map((_, at) => at);

    const kept = () => table.rows.map((_, at) => at).filter((at) => Object.entries(wanted).every(([column, value]) => {
      const text = table.rows[at][names.indexOf(column)];
      return value === "" || text === value;
    }));
    // Missing entries stay at the end in either direction of sorting.
    const compare = (one, two) => {
      const [a, b] = [table.rows[one][order.at], table.rows[two][order.at]];
      if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b) || one - two;
      const sign = order.up ? 1 : -1;
      const by = numeric[order.at] ? numberOf(a) - numberOf(b) : a.toLowerCase().localeCompare(b.toLowerCase());
      return sign * by || one - two;
    };

    const head = make("thead");
    const body = make("tbody");
    const count = make("span", { role: "status" });
    const back = make("button", { class: "small", type: "button", onclick: () => { first -= PAGE; fill(); } }, "earlier rows");
    const on = make("button", { class: "small", type: "button", onclick: () => { first += PAGE; fill(); } }, "later rows");
    const visible = () => names.map((_, at) => at).filter((at) => shown.has(names[at]));

    const fillHead = () => {
      head.replaceChildren(make("tr", {}, ...visible().map((at) => {
        const sorted = order.at === at ? (order.up ? "ascending" : "descending") : null;
        const press = () => { order.up = order.at === at ? !order.up : true; order.at = at; first = 0; refresh(); };
        return make("th", { scope: "col", class: at < table.labels ? "l" : null, "aria-sort": sorted, "data-name": names[at] },
          make("button", { type: "button", onclick: press }, table.columns[at][1]));
      })));
    };
    const cellOf = (row, at, leading) => {
      const text = table.rows[row][at];
      const mark = names[at] === "verdict" && MARKS[text] ? `${MARKS[text]} ` : "";
      let inside = leading && view >= 0 ? make("button", { class: "open", type: "button", onclick: () => openPanel(view, row) }, text) : mark + text;
      for (const [sign, name] of [["u", "u"], ["b", "b"]]) if (table.marks[row][at].includes(sign)) inside = make(name, {}, inside);
      const left = at < table.labels || !numeric[at] ? "l" : "";
      return make(leading ? "th" : "td", {
        scope: leading ? "row" : null, class: `${left} ${text === "helps" || text === "harms" ? text : ""}`.trim() || null,
        title: text.length > 36 ? text : null, style: colourOf(text, at) }, inside);
    };
    const values = table.heat ? table.rows.flatMap((row) => row.slice(table.labels).map(numberOf)).filter((value) => value !== null) : [];
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const colourOf = (text, at) => {
      const value = numberOf(text);
      if (!table.heat || at < table.labels || value === null) return null;
      return `background: color-mix(in srgb, var(--p3) ${Math.round(100 * (value - low) / (high - low || 1))}%, var(--paper)); color: var(--weak)`;
    };
    const fill = () => {
      first = Math.max(0, Math.min(first, rows.length - 1));
      const part = rows.slice(first, first + PAGE);
      const columns = visible();
      body.replaceChildren(...part.map((row) => make("tr", {}, ...columns.map((at, place) => cellOf(row, at, place === 0)))));
      const all = rows.length === table.rows.length ? "" : ` (of ${table.rows.length.toLocaleString("en")})`;
      count.textContent = rows.length > PAGE
        ? `rows ${(first + 1).toLocaleString("en")} to ${(first + part.length).toLocaleString("en")} of ${rows.length.toLocaleString("en")}${all}`
        : `${rows.length} ${rows.length === 1 ? "row" : "rows"}${all}`;
      back.hidden = on.hidden = rows.length <= PAGE;
      back.disabled = first === 0;
      on.disabled = first + PAGE >= rows.length;
    };
    const refresh = () => {
      rows = kept();
      if (order.at >= 0) rows.sort(compare);
      fillHead();
      fill();
    };

    const menus = names.flatMap((name, at) => {
      if (!FILTERED.includes(name) || table.rows.length < 2) return [];
      const there = [...new Set(table.rows.map((row) => row[at]))];
      if (there.length < 2) return [];
      const options = [make("option", { value: "" }, "all"), ...there.map((value) => make("option", { value }, value || "(blank)"))];
      const choose = (event) => { wanted[name] = event.target.value; first = 0; refresh(); };
      return [make("label", {}, table.columns[at][1], make("select", { onchange: choose, "data-filter": name }, ...options))];
    });
    const columns = names.length > shown.size || table.main.length
      ? [make("details", {}, make("summary", {}, "columns"), make("div", { class: "menu" }, ...names.map((name, at) => make("label", {},
        make("input", { type: "checkbox", checked: shown.has(name), "data-column": name, onchange: (event) => {
          if (event.target.checked) shown.add(name); else shown.delete(name);
          refresh();
        } }), table.columns[at][1]))))]
      : [];
    const heads = (which) => which.map((at) => names[at]);
    const plain = (text, at) => (at >= table.labels && numeric[at] ? (isMissing(text) ? "" : text.replace("−", "-").replace("+", "").replaceAll(",", "")) : text);
    const saveShown = () => save(`${table.name}-shown.csv`, heads(visible()), rows.map((row) => visible().map((at) => plain(table.rows[row][at], at))));
    const saveAll = () => save(`${table.name}-page.csv`, names, table.rows.map((row) => row.map(plain)));
    place.replaceChildren(
      make("div", { class: "tools" }, ...menus, ...columns, count, back, on,
        make("button", { class: "small", type: "button", "data-save": "shown", onclick: saveShown }, "save what is shown (CSV)"),
        make("button", { class: "small", type: "button", "data-save": "all", onclick: saveAll }, `save all ${table.rows.length.toLocaleString("en")} rows (CSV)`)),
      make("div", { class: "wide data", tabindex: "0", role: "region", "aria-label": table.title }, make("table", { id: `table-${id}` }, head, body)));
    refresh();
  };
  // Tables are filled when they are first opened, so that a page with many of them loads fast.
  const fillTables = (within) => {
    for (const place of within.querySelectorAll("[data-table]:empty")) {
      const fold = place.closest("details");
      if (!fold || fold.open) showTable(place);
    }
  };
  document.addEventListener("toggle", (event) => { if (event.target.open) fillTables(event.target); }, true);
  fillTables(document);

  // ---- the panel: one pair with its evidence ----
  const panel = document.getElementById("panel");
  const lines = (...parts) => parts.filter(Boolean).join(" ");
  const definitions = (pairs) => make("dl", {}, ...pairs.filter(([, value]) => value && value !== "—").flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  const signed = (value, digits = 3) => (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);

  const openPanel = (at, row) => {
    const view = data.views[at];
    const table = data.tables[view.table];
    const cell = (name) => { const place = table.columns.findIndex((column) => column[0] === name); return place < 0 ? "" : table.rows[row][place]; };
    const [source, target] = view.pairs[row];
    const metric = view.metrics[target] ?? "";
    const verdict = cell("verdict");
    const title = `${cell("source")} → ${cell("target")}`;
    const step = (to) => make("button", { class: "small", type: "button", disabled: to < 0 || to >= table.rows.length, onclick: () => openPanel(at, to),
      "aria-label": to < row ? "previous pair" : "next pair" }, to < row ? "←" : "→");
    const close = make("button", { class: "small", type: "button", onclick: () => panel.close() }, "close");
    const interval = isMissing(cell("low")) ? "its interval is unknown" : `95 % interval ${cell("low")} to ${cell("high")} before correction for many pairs`;
    const said = lines(`${MARKS[verdict] ?? ""} ${verdict}:`, isMissing(cell("difference")) ? "no difference is defined." : `${cell("difference")} ${metric}, ${interval}.`);
    panel.replaceChildren(
      make("header", {}, make("h2", { id: "panel-title" }, title), step(row - 1), step(row + 1), close),
      make("p", {}, make("b", { class: verdict }, said)),
      cell("disagreement_or_reason") && !isMissing(cell("disagreement_or_reason")) ? make("p", { class: "soft" }, cell("disagreement_or_reason")) : "",
      make("h3", {}, "Tests"),
      definitions([
        ["over seeds and test examples", isMissing(cell("p_value")) ? "" : `p ${cell("p_value")}; corrected for all pairs (Benjamini-Hochberg) ${cell("p_bh")}: this decides; within the target alone (Holm) ${cell("p_holm")}`],
        ["equivalence", isMissing(cell("p_equivalent")) ? "" : `p ${cell("p_equivalent")}`],
        [view.one_seed_test, isMissing(cell("paper_p")) ? "" : `p ${cell("paper_p")}: ${cell("paper_test")}`],
        ["change in % of the baseline", isMissing(cell("percent")) ? "" : lines(cell("percent"), isMissing(cell("percent_low")) || cell("percent_low").includes("∞") ? "" : `(${cell("percent_low")} to ${cell("percent_high")})`)],
        ["this design detects", isMissing(cell("smallest_detectable")) ? "" : `differences of ${cell("smallest_detectable")} with probability .8`],
        ["runs that collapsed", isMissing(cell("n_collapsed")) ? "" : `${cell("n_collapsed").split("/").join(" with the source, ")} alone; left out of the means`],
        ["data", view.leaks[`${source},${target}`] ?? view.leaks[`${target},${target}`] ?? ""],
      ]),
      ...evidence(view, source, target, metric));
    if (!panel.open) panel.showModal();
    panel.scrollTop = 0;
    close.focus({ preventScroll: true });
  };

  const evidence = (view, source, target, metric) => {
    if (!view.runs) return [make("p", { class: "soft" }, data.notes.runs)];
    const transfer = view.runs[`${source},${target}`] ?? [];
    const alone = view.runs[`${target},${target}`] ?? [];
    const seeds = [...new Set([...alone, ...transfer].map((run) => run[0]))].sort((a, b) => a - b);
    const of = (runs, seed) => runs.find((run) => run[0] === seed);
    const score = (run) => (run === undefined ? "no run" : run[1] === null ? "undefined" : run[1].toFixed(3));
    const flags = (run) => (run && run[2].length ? " †" : "");
    const rows = seeds.map((seed) => {
      const [a, b] = [of(alone, seed), of(transfer, seed)];
      const both = a && b && a[1] !== null && b[1] !== null;
      return make("tr", {}, make("td", {}, String(seed)), make("td", {}, score(a) + flags(a)), make("td", {}, score(b) + flags(b)), make("td", {}, both ? signed(b[1] - a[1]) : ""));
    });
    const both = [["with the source", transfer], ["alone", alone]];
    const flagged = both.flatMap(([name, runs]) => runs.flatMap((run) => run[2].map((flag) => make("li", {}, `† ${name}, seed ${run[0]}: ${Object.hasOwn(data.flags, flag) ? data.flags[flag] : `flagged ${flag}`}.`))));
    const hours = both.map(([name, runs]) => [name, runs.filter((run) => run[4] !== null)]).filter(([, runs]) => runs.length)
      .map(([name, runs]) => `${name} ${(runs.reduce((sum, run) => sum + run[4], 0) / 3600).toFixed(2)} h in ${runs.length} ${runs.length === 1 ? "run" : "runs"}`);
    const devices = [...new Set(both.flatMap(([, runs]) => runs.map((run) => view.devices[run[5]])).filter(Boolean))];
    return [
      make("h3", {}, `Seeds (${metric})`),
      make("table", {}, make("thead", {}, make("tr", {}, ...["seed", "alone", "with the source", "difference"].map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, ...rows)),
      flagged.length ? make("ul", { class: "plain" }, ...flagged) : "",
      ...curves(transfer, alone, metric),
      make("h3", {}, "Cost and provenance"),
      definitions([["training time", hours.join("; ") || "not recorded"], ["trained on", devices.join("; ")], ["code", view.code]]),
      view.setting ? make("details", {}, make("summary", {}, "setting"), make("p", { class: "soft" }, view.setting)) : "",
      make("details", {}, make("summary", {}, "ids of the runs"), ...both.flatMap(([name, runs]) => runs.map((run) => make("div", {}, `${name}, seed ${run[0]}: `, make("code", {}, run[3]))))),
    ];
  };

  // ---- learning curves: [training losses, validation scores], an entry per epoch ----
  const WIDTH = 320, HEIGHT = 150, LEFT = 38, BOTTOM = 22;
  const plot = (title, groups, which) => {
    const all = groups.flatMap(([, runs]) => runs.flatMap((run) => run[6][which])).filter((value) => value !== null);
    const epochs = Math.max(...groups.flatMap(([, runs]) => runs.map((run) => run[6][which].length)));
    if (!all.length) return null;
    const low = Math.min(...all), high = Math.max(...all), span = high - low || 1;
    const x = (epoch) => LEFT + (epochs > 1 ? (epoch / (epochs - 1)) * (WIDTH - LEFT - 8) : 0);
    const y = (value) => 8 + (1 - (value - low) / span) * (HEIGHT - BOTTOM - 12);
    const ends = groups.flatMap(([name, runs]) => runs.map((run) => `${name}, seed ${run[0]}: ${run[6][which].at(-1) ?? "undefined"}`));
    const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title} by epoch; at the end ${ends.join("; ")}` });
    svg.append(drawn("path", { class: "axis", d: `M${LEFT} 4 V${HEIGHT - BOTTOM + 2} H${WIDTH - 4}` }),
      drawn("text", { x: 2, y: y(high) + 4 }, high.toPrecision(3)), drawn("text", { x: 2, y: y(low) + 2 }, low.toPrecision(3)),
      drawn("text", { x: LEFT, y: HEIGHT - 6 }, "epoch 1"), drawn("text", { x: WIDTH - 4, y: HEIGHT - 6, "text-anchor": "end" }, String(epochs)));
    for (const [name, runs] of groups) {
      for (const run of runs) {
        const points = run[6][which].map((value, epoch) => (value === null ? null : `${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`)).filter(Boolean);
        if (points.length) svg.append(drawn("path", { class: name === "alone" ? "alone" : "with", d: `M${points.join(" L")}${points.length === 1 ? " h3" : ""}` }));
      }
    }
    return make("figure", { style: "margin: 0" }, make("figcaption", {}, title), svg);
  };
  const curves = (transfer, alone, metric) => {
    const groups = [["with the source", transfer], ["alone", alone]].map(([name, runs]) => [name, runs.filter((run) => run[6])]).filter(([, runs]) => runs.length);
    if (!groups.length) return data.notes.curves ? [make("p", { class: "soft" }, data.notes.curves)] : [];
    const plots = [plot("training loss", groups, 0), plot(`validation ${metric}`, groups, 1)].filter(Boolean);
    return [make("h3", {}, "Learning curves"), make("p", { class: "soft" }, "A line per seed. Blue: with the source; orange, dashed: alone."), make("div", { class: "curves" }, ...plots)];
  };
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });

  // ---- pictures and forest plots open the panel; arrows move within a picture ----
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest("[data-row]");
    if (pressed) openPanel(Number(pressed.closest("[data-view]").dataset.view), Number(pressed.dataset.row));
  });
  // A cell in the picture of all settings filters the table of settings to its pair.
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest("[data-filter-source]");
    if (!pressed) return;
    const place = document.querySelector('[data-table="settings-pairs"]');
    for (const menu of place.querySelectorAll("select")) {
      menu.value = "";
      menu.dispatchEvent(new Event("change"));
    }
    for (const [name, value] of [["source", pressed.dataset.filterSource], ["target", pressed.dataset.filterTarget]]) {
      const menu = place.querySelector(`select[data-filter="${name}"]`);
      if (!menu) continue;
      menu.value = value;
      menu.dispatchEvent(new Event("change"));
    }
    place.scrollIntoView({ block: "center" });
    place.querySelector(".data").focus({ preventScroll: true });
  });
  const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  for (const picture of document.querySelectorAll("table.picture")) {
    const heads = [...picture.tHead.rows[0].cells].map((cell) => cell.textContent);
    picture.querySelectorAll("button").forEach((button, at) => {
      const cell = button.closest("td");
      const verdict = Object.keys(MARKS).find((name) => cell.classList.contains(name));
      button.tabIndex = at === 0 ? 0 : -1;
      button.setAttribute("aria-label", `${cell.parentElement.cells[0].textContent} → ${heads[cell.cellIndex]}: ${verdict ? `${button.textContent.replace(/[▲▼=]$/, "").trim()}, ${verdict}` : button.title}`);
    });
    picture.addEventListener("keydown", (event) => {
      const move = MOVES[event.key];
      const from = event.target.closest("td");
      if (!move || !from) return;
      event.preventDefault();
      const rows = [...picture.tBodies[0].rows];
      let [row, column] = [from.parentElement.rowIndex - 1, from.cellIndex];
      for (;;) { // skip cells without a pair
        row += move[0];
        column += move[1];
        const next = rows[row]?.cells[column];
        if (!next) return;
        const button = next.querySelector("button");
        if (button) {
          for (const other of picture.querySelectorAll('button[tabindex="0"]')) other.tabIndex = -1;
          button.tabIndex = 0;
          button.focus();
          return;
        }
      }
    });
  }
  // A link to a place inside a closed fold opens the fold.
  const reveal = () => {
    const place = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let fold = place && place.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    if (place) place.scrollIntoView();
  };
  window.addEventListener("hashchange", reveal);
  reveal();
})();
