// The summary. Its numbers are buttons where they can be looked at.

function totals() {
  const t = data.totals;
  const share = t.known ? `${((100 * t.right) / t.known).toFixed(1)} %` : "";
  const lines = [
    [t.images, "images", null],
    [t.maps, "maps", "map"],
    ...(t.known ? [[share, `right, of ${t.known.toLocaleString("en")}`, "right"], [t.known - t.right, "wrong", "wrong"]] : []),
    [t.problems, "without a map", "problem"],
    [t.errors, "errors", "error"],
  ];
  for (const [value, what, state] of lines) {
    const text = typeof value === "number" ? value.toLocaleString("en") : value;
    const isBad = ["wrong", "problem", "error"].includes(state) && value > 0;
    const button = make(state ? "button" : "span", { className: isBad ? "bad" : "" }, make("b", { textContent: text }), what);
    if (state) button.addEventListener("click", () => look({ state }));
    $("totals").append(make("li", {}, button));
  }
}

function histogram() {
  const h = histograms.get($("quantity").value);
  if (!h) return;
  const most = Math.max(...h.counts);
  $("histogram").replaceChildren(
    ...h.counts.map((n, i) => {
      const bar = make("span");
      bar.style.height = n ? `max(3px, ${(100 * n) / most}%)` : "0";
      const text = `${number(h.edges[i])} to ${number(h.edges[i + 1])}: ${count(n, "map")}`;
      const button = said(make("button", { type: "button", title: text, disabled: !n }, bar), text);
      button.addEventListener("click", () => look({ low: h.edges[i], high: h.edges[i + 1] }));
      return button;
    }),
  );
  $("least").textContent = number(h.edges[0]);
  $("most").textContent = number(h.edges.at(-1));
  $("range-title").textContent = h.title;
}

function press() {
  const h = histograms.get($("quantity").value);
  [...$("histogram").children].forEach((bar, i) => {
    const isOn = fields.low.value === String(h.edges[i]) && fields.high.value === String(h.edges[i + 1]);
    bar.setAttribute("aria-pressed", isOn);
  });
}

function link(text, wish) {
  const button = make("button", { type: "button", className: "link name", textContent: text });
  button.addEventListener("click", () => look(wish));
  return button;
}

function head(...names) {
  const row = make("tr");
  for (const name of names) row.append(make("th", { scope: "col", textContent: name }));
  return make("thead", {}, row);
}

function classes() {
  const most = Math.max(1, ...data.classes.map(([, n]) => n));
  const body = make("tbody");
  for (const [label, n, mean] of data.classes) {
    const bar = make("span");
    bar.style.width = `${(100 * n) / most}%`;
    body.append(make("tr", {},
      make("th", { scope: "row" }, link(label, { label: `=${label}` })),
      make("td", { className: "share" }, bar),
      make("td", { className: "number", textContent: n.toLocaleString("en") }),
      make("td", { className: "number", textContent: chance(mean) })));
  }
  $("classes").append(head("class", "", `${data.of}s`, "mean prob."), body);
}

function confusion() {
  const pairs = data.confusion;
  $("confusion-section").hidden = !pairs.length;
  if (!pairs.length) return;
  const names = [...new Set(pairs.flatMap(([truth, label]) => [truth, label]))].sort();
  const wish = (truth, label) => ({ truth: `=${truth}`, label: `=${label}` });
  if (names.length > WIDEST) {
    const wrong = pairs.filter(([truth, label]) => truth !== label).slice(0, 200);
    $("confusion-hint").textContent = "The pairs that are confused most often.";
    const body = make("tbody");
    for (const [truth, label, n] of wrong) {
      body.append(make("tr", {}, make("th", { scope: "row", className: "name", textContent: truth }),
        make("td", {}, link(label, wish(truth, label))), make("td", { className: "number", textContent: n })));
    }
    $("confusion").append(head("truth", "taken for", "images"), body);
    return;
  }
  $("confusion-hint").textContent = "Rows: what the folder says. Columns: what the model says.";
  $("confusion").className = "matrix";
  const counts = new Map(pairs.map(([truth, label, n]) => [JSON.stringify([truth, label]), n]));
  const rows = names.filter((name) => pairs.some(([truth]) => truth === name));
  const body = make("tbody");
  for (const truth of rows) {
    const row = make("tr", {}, make("th", { scope: "row", textContent: truth, title: truth }));
    const sum = pairs.reduce((s, [t, , n]) => s + (t === truth ? n : 0), 0);
    for (const label of names) {
      const n = counts.get(JSON.stringify([truth, label]));
      const cell = make("td");
      if (n) {
        const button = make("button", { type: "button", textContent: n, className: truth === label ? "right" : "wrong" });
        button.style.setProperty("--share", `${25 + (75 * n) / sum}%`);
        said(button, `${truth} taken for ${label}: ${count(n, "image")}`);
        button.addEventListener("click", () => look(wish(truth, label)));
        cell.append(button);
      }
      row.append(cell);
    }
    body.append(row);
  }
  $("confusion").append(head("", ...names), body);
}

function clear() {
  for (const field of fields) if (field.name && !["sort", "cards"].includes(field.name)) field.value = "";
}

// Filter by what was pressed in the summary, and go there.
function look(wish) {
  clear();
  for (const [name, value] of Object.entries(wish)) fields[name].value = value;
  refresh();
  $("gallery").scrollIntoView();
  focusOn(0);
}
