// The whole page is made of text nodes and attributes set here: nothing from a file is ever read as HTML.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const PAGE = 48; // images at a time
const ACROSS = 4; // pictures side by side on a card
const WIDEST = 30; // classes of a confusion matrix; beyond that, a list of pairs
const $ = (id) => document.getElementById(id);
const form = $("controls");
const fields = form.elements;
const histograms = new Map(data.histograms.map((h) => [h.key, h]));
let shown = []; // the images that the filters leave, in order, each with its maps that they leave
let page = 0;
let opened = -1;

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((c) => c !== null && c !== undefined));
  return element;
}

function said(element, label) {
  element.setAttribute("aria-label", label);
  return element;
}

const number = (x, digits = 3) => (x === null ? "–" : Number(x.toPrecision(digits)).toLocaleString("en"));
const chance = (x) => (x === null ? "–" : x.toFixed(3));
const count = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
const isMap = (map) => map.problem === null && map.method !== null;
const known = (image) => image.truth !== null && image.label !== null;
const isWrong = (image) => known(image) && image.truth !== image.label;
const baseName = (path) => path.slice(path.lastIndexOf("/") + 1);

const ofThings = data.of === "thing";
const thingOf = (image, map) => image.things.find((thing) => thing.target === map.target && map.target !== null);
const className = (thing) => thing.class_label || thing.kind;

// What may be asked for, and in which order.

const STATES = {
  "": ["all", () => true],
  wrong: ["wrong", isWrong],
  right: ["right", (image) => known(image) && !isWrong(image)],
  map: ["with a map", (image) => image.maps.some(isMap)],
  problem: ["without a map", (image) => image.maps.some((map) => map.problem !== null)],
  error: ["with an error", (image) => image.error !== null],
};

const first = (key) => (image, maps) => (maps.length ? maps[0][key] : null);
const ORDERS = {
  surprise: ["most surprising", (image) => image.surprise ?? image.shaky - 2, -1],
  shaky: ["shakiest", (image) => image.shaky, -1],
  disagree: ["methods disagree", (image) => image.disagreement ?? null, -1],
  unsure: ["least probable", first("target_probability"), 1],
  sure: ["most probable", first("target_probability"), -1],
  weak: ["lowest score", first("score"), 1],
  strong: ["highest score", first("score"), -1],
  spread: ["most spread out", first("map_entropy"), -1],
  tight: ["most concentrated", first("map_entropy"), 1],
  slow: ["slowest", first("seconds"), -1],
  path: ["by name", (image) => image.path, 1],
};

function compare(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null); // what has no value comes last
  return direction * (a < b ? -1 : a > b ? 1 : 0);
}

function isOf(image, map, label) {
  const thing = thingOf(image, map);
  return thing !== undefined && className(thing) === label;
}

// What cards are of: an image with its maps, or each thing in it with those of its own.
function apart(image, maps) {
  if (!fields.cards?.value) return [{ image, maps }];
  const things = image.things.map((thing) => ({ image, thing, maps: maps.filter((map) => thingOf(image, map) === thing) }));
  return things.filter((entry) => entry.maps.length);
}

function chosen() {
  const { value: method } = fields.method;
  const bound = (field, without) => (field.value === "" ? without : Number(field.value));
  const low = bound(fields.low, -Infinity);
  const high = bound(fields.high, Infinity);
  const ranged = fields.low.value !== "" || fields.high.value !== "";
  const key = $("quantity").value;
  const words = fields.text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const state = STATES[fields.state.value][1];
  const found = [];
  for (const image of data.images) {
    if (!ofThings && fields.label.value && image.label !== fields.label.value.slice(1)) continue;
    if (fields.truth.value && image.truth !== fields.truth.value.slice(1)) continue;
    if (!state(image) || !words.every((word) => image.text.includes(word))) continue;
    const maps = image.maps.filter(
      (map) =>
        (!method || map.method === method.slice(1)) &&
        (!ofThings || !fields.label.value || isOf(image, map, fields.label.value.slice(1))) &&
        (!ranged || (map[key] !== null && map[key] >= low && map[key] <= high)),
    );
    const isNarrow = method || ranged || (ofThings && fields.label.value);
    if (maps.length || !isNarrow) found.push(...apart(image, maps));
  }
  const [, value, direction] = ORDERS[fields.sort.value];
  for (const entry of found) entry.value = value(entry.image, entry.maps);
  return found.sort(
    (a, b) =>
      (a.image.error !== null) - (b.image.error !== null) ||
      compare(a.value, b.value, direction) ||
      compare(a.image.path, b.image.path, 1),
  );
}
