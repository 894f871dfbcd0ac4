// The cards: one for each image, with its photo, its maps and their commands.

// A photo with a map over it, all of it or what is around a thing.
function stack(image, map, near) {
  const box = make("span", { className: "stack" });
  const window = near?.window ?? [0, 0, image.height || 1, image.width || 1];
  const [height, width] = [window[2] - window[0], window[3] - window[1]];
  box.style.aspectRatio = `${width} / ${height}`;
  const layer = (source, className, alt, isCut) => {
    const img = make("img", { src: source, className, alt, decoding: "async", loading: "lazy" });
    if (near?.window && !isCut) place(img, [0, 0, image.height, image.width], window);
    box.append(img);
  };
  const heat = map && (map.heat ?? map.picture);
  const photo = near?.picture ?? image.photo;
  if (photo) layer(photo, "photo", heat ? "" : `Photo ${image.path}`, Boolean(near?.picture));
  if (heat) {
    const alt = `${map.method} of ${map.target_label ?? "the input"} over ${image.path}`;
    layer(heat, `${map.heat ? "heat" : "picture"}${image.photo ? "" : " alone"}`, alt);
  }
  const missing = map ? map.problem ?? (heat ? "" : "no map kept") : image.photo ? "" : image.note;
  if (missing) box.append(make("span", { className: "none", textContent: missing }));
  if (missing && box.children.length === 1) box.className = "none";
  else for (const thing of map ? [thingOf(image, map)] : near ? [near] : image.things) frame(box, thing, window);
  return box;
}

// Where a part (y0, x0, y1, x1) of a photo lies in a window of it.
function place(element, [y0, x0, y1, x1], [top, left, bottom, right]) {
  const share = (value, whole) => `${((100 * value) / whole).toFixed(3)}%`;
  const [height, width] = [bottom - top, right - left];
  Object.assign(element.style, { inset: "auto", top: share(y0 - top, height), left: share(x0 - left, width) });
  Object.assign(element.style, { height: share(y1 - y0, height), width: share(x1 - x0, width) });
}

function frame(box, thing, window) {
  if (!thing?.box || thing.kind === "region") return; // how far a region reaches says little
  const edge = make("span", { className: `frame ${thing.kind === "box" ? "" : "line"}` });
  place(edge, thing.box, window);
  if (thing.box_angle) edge.style.rotate = `${thing.box_angle}rad`;
  box.append(edge);
}

function copier(command) {
  const button = make("button", { type: "button", className: "copy", textContent: "Copy", title: command });
  said(button, `Copy the command: ${command}`);
  return button;
}

// A click anywhere: those in the head of the page are written by the template.
document.addEventListener("click", (event) => {
  const button = event.target.closest(".copy");
  if (button) copy(button.title, button);
});

async function copy(text, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { value: text, className: "skip" });
    button.after(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = done ? "Copied" : "Not copied";
  const said = button.closest("dialog, main").querySelector(".said"); // what lies outside of an open dialog is mute
  said.textContent = done ? `Copied: ${text}` : "Not copied: open the image and select the command";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

function verdict(image) {
  const line = make("span", { className: "verdict name" });
  if (image.error !== null) line.append("not read");
  else if (ofThings) line.append(inside(image));
  else if (image.label !== null) {
    line.append(make("span", { className: isWrong(image) ? "wrong-answer" : "", textContent: image.label }));
    line.append(` ${chance(image.probability)}`);
    if (isWrong(image)) line.append(`, truth ${image.truth}`);
    else if (known(image)) line.append(" ✓");
  }
  return line;
}

// What was found in an image: its text, or how many there are of each class.
function inside(image) {
  const text = image.things.find((thing) => thing.kind === "text");
  if (text) return text.target_label;
  const counts = new Map();
  for (const thing of image.things) counts.set(className(thing), (counts.get(className(thing)) ?? 0) + 1);
  return [...counts].map(([name, n]) => (n > 1 ? `${n} ${name}` : name)).join(", ") || "nothing found";
}

function card({ image, maps, thing }, index) {
  const open = make("button", { type: "button", className: "open", tabIndex: -1 });
  open.dataset.index = index;
  const about = thing ? make("span", { className: "verdict name", textContent: `${thing.target_label} ${chance(thing.target_probability)}` }) : verdict(image);
  open.append(make("span", { className: "title name", textContent: baseName(image.path), title: image.path }), about);
  said(open, `Open ${image.path}, ${open.lastChild.textContent}`);
  const item = make("li", {}, open);
  open.addEventListener("click", () => show(index));
  if (image.error !== null) {
    item.append(make("p", { className: "name", textContent: image.error }));
    if (image.maps.length) item.append(make("div", {}, copier(image.maps[0].command)));
    return item;
  }
  const panels = make("div", { className: "panels" });
  if ($("beside").checked && (image.photo || image.note)) {
    panels.append(make("figure", {}, stack(image, null, thing), make("figcaption", {}, make("span", { className: "name", textContent: "photo" }), image.command && copier(image.command))));
  }
  for (const map of maps) {
    const isOther = map.target_label !== null && (ofThings || map.target_label !== image.label);
    const target = isOther ? ` · ${map.target_label} ${chance(map.target_probability)}` : "";
    const caption = make("span", { className: "name", textContent: `${map.method}${target}` });
    panels.append(make("figure", {}, stack(image, map, thing), make("figcaption", {}, caption, copier(map.command))));
  }
  panels.addEventListener("click", (event) => event.target.closest("button") || show(index));
  item.append(panels);
  return item;
}
