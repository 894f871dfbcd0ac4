// The gallery: the cards that are left, page by page, and one image large.

function refresh() {
  shown = chosen();
  page = 0;
  const isOfThings = Boolean(fields.cards?.value);
  const all = isOfThings ? data.images.reduce((sum, image) => sum + image.things.length, 0) : data.images.length;
  $("status").textContent = count(shown.length, isOfThings ? "thing" : "image") + (shown.length === all ? "" : ` of ${all.toLocaleString("en")}`);
  turn(0);
  press();
}

function turn(to) {
  const pages = Math.max(1, Math.ceil(shown.length / PAGE));
  page = Math.min(Math.max(to, 0), pages - 1);
  const start = page * PAGE;
  $("cards").replaceChildren(...shown.slice(start, start + PAGE).map((entry, i) => card(entry, start + i)));
  const most = Math.max(1, ...shown.slice(start, start + PAGE).map(({ maps }) => maps.length));
  $("cards").style.setProperty("--across", Math.min(most + $("beside").checked, ACROSS));
  $("pages").textContent = `page ${page + 1} of ${pages.toLocaleString("en")}`;
  $("back").disabled = page === 0;
  $("next").disabled = page === pages - 1;
  const open = $("cards").querySelector(".open");
  if (open) open.tabIndex = 0;
}

function focusOn(index) {
  if (index < 0 || index >= shown.length) return;
  if (Math.floor(index / PAGE) !== page) turn(Math.floor(index / PAGE));
  for (const open of $("cards").querySelectorAll(".open")) {
    open.tabIndex = Number(open.dataset.index) === index ? 0 : -1;
    if (open.tabIndex === 0) open.focus();
  }
}

// How many cards on, the one is that stands above or below.
function rowStep(index, direction) {
  const cards = [...$("cards").children];
  const here = cards[index - page * PAGE];
  const rows = [...new Set(cards.map((c) => c.offsetTop))];
  const row = rows.indexOf(here.offsetTop) + direction;
  if (row < 0 || row >= rows.length) return direction; // on to the next page
  const near = cards.filter((c) => c.offsetTop === rows[row]);
  const away = (c) => Math.abs(c.offsetLeft - here.offsetLeft);
  return cards.indexOf(near.reduce((a, b) => (away(b) < away(a) ? b : a))) - cards.indexOf(here);
}

// One image, large.

function show(index) {
  if (index < 0 || index >= shown.length) return;
  opened = index;
  const { image, maps, thing } = shown[index];
  $("dialog-title").textContent = image.path;
  const body = $("dialog-body");
  $("dialog-verdict").replaceChildren(verdict(image));
  const large = make("div", { className: "large" });
  body.replaceChildren();
  if (image.error !== null) body.append(make("p", { className: "note name", textContent: image.error }));
  else {
    const about = facts({
      photo: image.width === null ? null : `${image.width} × ${image.height} pixels`,
      "SHA-256": image.sha256,
      note: image.note || null,
    });
    large.append(make("figure", {}, stack(image), about, ...(image.command ? line(image.command) : [])));
  }
  for (const map of thing ? maps : image.maps) {
    const figure = make("figure", {});
    if (image.error === null) {
      figure.append(stack(image, map), facts({
        method: map.method,
        target: map.target_label === null ? null : `${map.target_label} (${chance(map.target_probability)})`,
        box: corners(thingOf(image, map)),
        score: number(map.score, 5),
        layer: map.layer,
        "map entropy": map.map_entropy === null ? null : `${number(map.map_entropy)} nats`,
        peak: map.map_peak_y === null ? null : `row ${map.map_peak_y}, column ${map.map_peak_x}`,
        seconds: map.seconds === null ? null : number(map.seconds),
        problem: map.problem,
      }));
    }
    figure.append(...line(map.command));
    large.append(figure);
  }
  body.append(large);
  $("before").disabled = index === 0;
  $("after").disabled = index === shown.length - 1;
  if (!$("dialog").open) $("dialog").showModal();
  $("dialog").scrollTop = 0;
}

function corners(thing) {
  if (!thing?.box) return null;
  const [y0, x0, y1, x1] = thing.box.map((edge) => number(edge, 5));
  return `rows ${y0} to ${y1}, columns ${x0} to ${x1}`;
}

function line(command) {
  return [make("pre", {}, make("code", { textContent: command })), copier(command)];
}

function facts(pairs) {
  const list = make("dl");
  for (const [name, value] of Object.entries(pairs)) {
    if (value !== null) list.append(make("dt", { textContent: name }), make("dd", { className: "name", textContent: value }));
  }
  return list;
}
