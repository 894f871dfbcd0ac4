// The beginning, and what is pressed and typed.

function options(select, pairs) {
  select.append(...pairs.map(([value, text]) => make("option", { value, textContent: text })));
}

function start() {
  for (const image of data.images) {
    const targets = image.maps.map((map) => map.target_label ?? "");
    image.text = [image.path, image.label ?? "", image.truth ?? "", image.error ?? "", ...targets].join("\n").toLowerCase();
  }
  const every = (values) => [["", "all"], ...[...new Set(values)].filter((v) => v !== null).sort().map((v) => [`=${v}`, v])];
  options(fields.label, every(data.classes.map(([label]) => label))); // those of the whole run, shown or not
  options(fields.truth, every(data.confusion.map(([truth]) => truth)));
  options(fields.method, every(data.images.flatMap((image) => image.maps.map((map) => map.method))));
  options(fields.state, Object.entries(STATES).map(([key, [text]]) => [key, text]));
  options(fields.sort, Object.entries(ORDERS).map(([key, [text]]) => [key, text]));
  if (!data.images.some((image) => (image.disagreement ?? null) !== null)) {
    fields.sort.querySelector("[value=disagree]").remove();
  }
  options($("quantity"), data.histograms.map((h) => [h.key, h.title]));
  $("truth-control").hidden = !data.confusion.length;
  if (!data.images.some((image) => image.surprise !== null)) {
    fields.sort.querySelector("[value=shaky]").defaultSelected = true;
    fields.sort.value = "shaky";
  }
  $("filters").hidden = matchMedia("(max-width: 44rem)").matches;
  $("more").setAttribute("aria-expanded", !$("filters").hidden);
  document.documentElement.style.setProperty("--alpha", data.alpha || 1); // of the run's own pictures
  heat(Math.round(100 * data.alpha));
  view("over");
  totals();
  histogram();
  classes();
  confusion();
  refresh();
}

function heat(percent) {
  $("opacity").value = $("dialog-opacity").value = percent;
  document.documentElement.style.setProperty("--heat", percent / 100);
}

function view(kind) {
  $("view").value = $("dialog-view").value = document.documentElement.dataset.view = kind;
  $("opacity").disabled = $("dialog-opacity").disabled = kind !== "over";
}

// What is pressed and typed.

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", (event) => {
  if (event.target.name) refresh();
});
$("clear").addEventListener("click", () => { clear(); refresh(); });
$("quantity").addEventListener("change", () => {
  fields.low.value = fields.high.value = "";
  histogram();
  refresh();
});
$("beside").addEventListener("change", () => turn(page));
$("more").addEventListener("click", () => {
  $("filters").hidden = !$("filters").hidden;
  $("more").setAttribute("aria-expanded", !$("filters").hidden);
});
for (const slider of [$("opacity"), $("dialog-opacity")]) slider.addEventListener("input", () => heat(slider.value));
for (const select of [$("view"), $("dialog-view")]) select.addEventListener("input", () => view(select.value));
$("back").addEventListener("click", () => { turn(page - 1); $("gallery").scrollIntoView(); });
$("next").addEventListener("click", () => { turn(page + 1); $("gallery").scrollIntoView(); });
$("before").addEventListener("click", () => show(opened - 1));
$("after").addEventListener("click", () => show(opened + 1));
$("close").addEventListener("click", () => $("dialog").close());
$("dialog").addEventListener("close", () => focusOn(opened));
$("dialog").addEventListener("click", (event) => event.target === $("dialog") && $("dialog").close());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { target, key } = event;
  const isField = target.matches("input, select, textarea");
  if (key === "/" && !isField && !$("dialog").open) {
    event.preventDefault();
    fields.text.focus();
  } else if (key === "Escape" && target === fields.text) {
    fields.text.value = "";
    refresh();
    focusOn(0);
  } else if ($("dialog").open && !isField) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (step) show(opened + step);
  } else if (target.matches(".open")) {
    const at = Number(target.dataset.index);
    const step = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: () => rowStep(at, -1), ArrowDown: () => rowStep(at, 1) }[key];
    if (step) {
      event.preventDefault();
      focusOn(at + step());
    }
  }
});

start();
