"use strict";
(() => {
  const data = JSON.parse(document.getElementById("form-data").textContent);
  const answers = data.rows.map(() => ({}));
  const asked = [...document.querySelectorAll("fieldset[data-row]")];
  const notes = [...document.querySelectorAll("textarea[data-row]")];
  const gaps = document.getElementById("gaps");
  const make = (tag, text, attributes = {}) => Object.assign(document.createElement(tag), { textContent: text }, attributes);

  // ---- answers outlive the page, as far as the browser lets them ----
  const keep = () => {
    try {
      localStorage.setItem(data.kept, JSON.stringify(Object.fromEntries(answers.map((answer, at) => [data.rows[at].task, answer]))));
    } catch {
      document.getElementById("not-kept").hidden = false;
    }
  };
  const recall = () => {
    let kept = {};
    try {
      kept = JSON.parse(localStorage.getItem(data.kept) || "{}") || {};
    } catch {
      document.getElementById("not-kept").hidden = false;
    }
    data.rows.forEach((row, at) => {
      const before = kept[row.task] || {};
      for (const name of data.criteria) if (["1", "2", "3", "4", "5"].includes(before[name])) answers[at][name] = before[name];
      if (typeof before.note === "string") answers[at].note = before.note;
    });
  };

  // ---- what is shown ----
  const open = () => asked.filter((field) => !answers[field.dataset.row][field.dataset.criterion]);
  const count = () => {
    const n = asked.length - open().length;
    document.getElementById("progress").value = n;
    document.getElementById("count").textContent = `${n} of ${asked.length} rated`;
  };
  const show = (field) => {
    const value = answers[field.dataset.row][field.dataset.criterion];
    for (const radio of field.querySelectorAll("input")) radio.checked = radio.value === value;
    field.querySelector("button").disabled = !value;
  };

  // ---- the rater's file ----
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const save = () => {
    const lines = data.rows.map((row, at) => data.columns.map((name) => quoted(answers[at][name] || row[name])).join(","));
    const text = "\ufeff" + [data.columns.join(","), ...lines].join("\r\n") + "\r\n";
    const link = make("a", "", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: `${data.rater}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const close = () => {
    gaps.hidden = true;
    gaps.replaceChildren();
  };
  const warn = (missing) => {
    const list = make("ul", "");
    for (const field of missing) {
      const item = make("li", "");
      const title = data.rows[field.dataset.row].title;
      item.append(make("a", `${title}: ${field.dataset.criterion}`, { href: `#${field.id}` }));
      list.append(item);
    }
    const anyway = make("button", "Save with gaps", { type: "button" });
    anyway.addEventListener("click", () => {
      close();
      save();
    });
    gaps.replaceChildren(make("p", `${missing.length} of ${asked.length} are not rated. Rate them, or save with gaps: they then count as not rated.`), list, anyway);
    gaps.hidden = false;
    gaps.focus();
  };

  // A link to a gap moves the keyboard to its first level, too.
  gaps.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link) return;
    event.preventDefault();
    const field = document.querySelector(link.getAttribute("href"));
    field.scrollIntoView();
    field.querySelector("input").focus({ preventScroll: true });
  });
  document.getElementById("save").addEventListener("click", () => {
    const missing = open();
    close();
    if (missing.length) warn(missing);
    else save();
  });
  for (const field of asked) {
    const set = (value) => {
      answers[field.dataset.row][field.dataset.criterion] = value;
      show(field);
      count();
      keep();
    };
    field.addEventListener("change", (event) => set(event.target.value));
    field.querySelector("button").addEventListener("click", () => {
      set("");
      field.querySelector("input").focus();
    });
  }
  for (const note of notes) {
    note.addEventListener("input", () => {
      answers[note.dataset.row].note = note.value;
      keep();
    });
  }

  recall();
  asked.forEach(show);
  notes.forEach((note) => {
    note.value = answers[note.dataset.row].note || "";
  });
  count();
})();
