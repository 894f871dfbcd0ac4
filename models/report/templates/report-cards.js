// The cards: one for each image, with its photo, its maps and their commands.

function stack(image, map) {
  const box = make("span", { className: "stack" });
  box.style.aspectRatio = `${image.width || 1} / ${image.height || 1}`;
  const layer = (source, className, alt) =>
    box.append(make("img", { src: source, className, alt, decoding: "async", loading: "lazy" }));
  const heat = map && (map.heat ?? map.picture);
  if (image.photo) layer(image.photo, "photo", heat ? "" : `Photo ${image.path}`);
  if (heat) {
    const alt = `${map.method} of ${map.target_label ?? "the input"} over ${image.path}`;
    layer(heat, `${map.heat ? "heat" : "picture"}${image.photo ? "" : " alone"}`, alt);
  }
  const missing = map ? map.problem ?? (heat ? "" : "no map kept") : image.photo ? "" : image.note;
  if (missing) box.append(make("span", { className: "none", textContent: missing }));
  if (missing && box.children.length === 1) box.className = "none";
  return box;
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
  else if (image.label !== null) {
    line.append(make("span", { className: isWrong(image) ? "wrong-answer" : "", textContent: image.label }));
    line.append(` ${chance(image.probability)}`);
    if (isWrong(image)) line.append(`, truth ${image.truth}`);
    else if (known(image)) line.append(" ✓");
  }
  return line;
}

function card({ image, maps }, index) {
  const open = make("button", { type: "button", className: "open", tabIndex: -1 });
  open.dataset.index = index;
  open.append(make("span", { className: "title name", textContent: baseName(image.path), title: image.path }), verdict(image));
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
    panels.append(make("figure", {}, stack(image), make("figcaption", {}, make("span", { className: "name", textContent: "photo" }), image.command && copier(image.command))));
  }
  for (const map of maps) {
    const isOther = map.target_label !== null && map.target_label !== image.label;
    const target = isOther ? ` · ${map.target_label} ${chance(map.target_probability)}` : "";
    const caption = make("span", { className: "name", textContent: `${map.method}${target}` });
    panels.append(make("figure", {}, stack(image, map), make("figcaption", {}, caption, copier(map.command))));
  }
  panels.addEventListener("click", (event) => event.target.closest("button") || show(index));
  item.append(panels);
  return item;
}
