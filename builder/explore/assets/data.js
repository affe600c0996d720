// What the page holds: unpacked once, then asked by the views. The form is that of records.py.

const CHANGES = ["added", "changed", "metadata", "removed", "rewritten"];
const CHANGE_WORDS = ["added", "changed", "metadata", "removed", "written again"];
const DIFFERENCES = ["", "added", "changed", "metadata", "removed"];
const REMOVED = 3;
const VALUES = 5; // of a version

const model = {
  images: [], // facts and what was counted; `first` is the number of its first layer
  attributes: [],
  names: [],
  depths: [],
  parents: [],
  ends: [], // where the subtree ends
  differences: [],
  starts: [], // where a path's versions begin; one more at the end
  layers: [],
  changes: [],
  kinds: [], // numbers of attributes
  extents: [],
  times: [],
};

function bytes(line) {
  const text = atob(line);
  const found = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) found[at] = text.charCodeAt(at);
  return found;
}

/** Yield the parsed lines of the data. */
async function* unpacked() {
  const source = $("data");
  const parts = source.textContent.split("\n").filter(Boolean).map(bytes);
  source.remove();
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("gzip"));
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let pending = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    let from = 0;
    for (let end = value.indexOf("\n"); end >= 0; end = value.indexOf("\n", from)) {
      pending.push(value.slice(from, end));
      yield JSON.parse(pending.join(""));
      pending = [];
      from = end + 1;
    }
    pending.push(value.slice(from));
  }
}

async function load() {
  const above = []; // the last path of each depth
  for await (const one of unpacked()) {
    if (Array.isArray(one)) for (const row of one) addRow(row, above);
    else if (one.attributes) finish(one, above);
    else model.images = one.images;
  }
}

function addRow(row, above) {
  const number = model.names.length;
  const depth = row[0];
  for (let at = depth; at < above.length; at += 1) model.ends[above[at]] = number;
  above.length = depth;
  above.push(number);
  model.names.push(row[1]);
  model.depths.push(depth);
  model.parents.push(depth ? above[depth - 1] : -1);
  model.ends.push(number + 1);
  model.differences.push(row[2]);
  model.starts.push(model.layers.length);
  for (let at = 3; at < row.length; at += VALUES) {
    model.layers.push(row[at]);
    model.changes.push(row[at + 1]);
    model.kinds.push(row[at + 2]);
    model.extents.push(row[at + 3]);
    model.times.push(row[at + 4]);
  }
}

function finish(last, above) {
  if (!model.names.length) addRow([0, "", 0], above); // an image without layers
  for (const open of above) model.ends[open] = model.names.length;
  model.starts.push(model.layers.length);
  model.attributes = last.attributes;
  model.differing = last.differences;
  let first = 0;
  model.images.forEach((image, number) => {
    Object.assign(image, last.images[number], { first, end: first + image.layers.length, number });
    first = image.end;
  });
}

function pathOf(number) {
  const parts = [];
  for (let at = number; at > 0 && model.depths[at]; at = model.parents[at]) parts.push(model.names[at]);
  return "/" + parts.reverse().join("/");
}

const children = new Map(); // of a directory that was looked through: its paths by name

/** Return the number of a path, -1 for none. */
function find(path) {
  let at = 0;
  for (const part of path.split("/").filter(Boolean)) {
    let names = children.get(at);
    if (!names) {
      names = new Map();
      for (let child = at + 1; child < model.ends[at]; child = model.ends[child]) names.set(model.names[child], child);
      children.set(at, names);
    }
    if (!names.has(part)) return -1;
    at = names.get(part);
  }
  return at;
}

function attributesOf(version) {
  const [kind, mode, uid, gid, ...xattrs] = model.attributes[model.kinds[version]];
  return { kind, mode, uid, gid, xattrs };
}

function kindOf(version) {
  return model.attributes[model.kinds[version]][0];
}

function sizeOf(version) {
  const extent = model.extents[version];
  return typeof extent === "number" && model.changes[version] !== REMOVED && kindOf(version) === "f" ? extent : 0;
}

/** Return a link's target. */
function targetOf(version) {
  const extent = model.extents[version];
  return Array.isArray(extent) ? extent[0] : extent;
}

/** Return the last version of a path from layer `first` up to `last`, -1 for none. */
function versionAt(number, first, last) {
  let found = -1;
  for (let at = model.starts[number]; at < model.starts[number + 1]; at += 1) {
    if (model.layers[at] >= first && model.layers[at] <= last) found = at;
  }
  return found;
}

/**
 * Return what is to be seen of every path: `version` (-1: not there), `change` (-1: none), `size` of all in it,
 * `changed`: whether something in it changes. `what` is {image, layer, own} (layer null: all of them; own: only
 * what the layer wrote counts) or {differences: true} (own: only what differs counts).
 */
function look(what) {
  const count = model.names.length;
  const seen = {
    version: new Int32Array(count).fill(-1),
    change: new Int8Array(count).fill(-1),
    size: new Float64Array(count),
    changed: new Uint8Array(count),
    links: [], // hard links that are there
    words: what.differences ? DIFFERENCES : CHANGES,
  };
  for (let number = 0; number < count; number += 1) {
    if (what.differences) lookDifference(number, what, seen);
    else lookLayer(number, what, seen);
  }
  countLinks(what, seen);
  for (let number = count - 1; number > 0; number -= 1) {
    seen.size[model.parents[number]] += seen.size[number];
    if (seen.changed[number]) seen.changed[model.parents[number]] = 1;
  }
  return seen;
}

function lookDifference(number, { own: only }, seen) {
  const [a, b] = model.images.map((image) => versionAt(number, image.first, image.end - 1));
  const there = (version) => version >= 0 && model.changes[version] !== REMOVED;
  const difference = model.differences[number];
  if (there(b)) seen.version[number] = b;
  else if (there(a)) seen.version[number] = a;
  else return;
  seen.size[number] = there(b) && (difference || !only) ? sizeOf(b) : 0;
  if (there(b) && Array.isArray(model.extents[b])) seen.links.push(number);
  if (difference) {
    seen.change[number] = difference;
    seen.changed[number] = 1;
  }
}

function lookLayer(number, { image, layer, own: only }, seen) {
  const last = layer === null ? image.end - 1 : image.first + layer;
  const version = versionAt(number, image.first, last);
  if (version < 0) return;
  const own = layer !== null && model.layers[version] === last;
  if (model.changes[version] === REMOVED) {
    if (!own) return;
    // What was removed is shown as it was before.
    seen.version[number] = versionAt(number, image.first, last - 1);
  } else {
    seen.version[number] = version;
    seen.size[number] = layer === null || own || !only ? sizeOf(version) : 0;
    if (Array.isArray(model.extents[version])) seen.links.push(number);
  }
  if (own) {
    seen.change[number] = model.changes[version];
    seen.changed[number] = 1;
  }
}

/** Give a file that is seen by hard links alone its size, at the first of them. */
function countLinks({ differences, image, layer, own: only }, seen) {
  const met = new Set();
  for (const number of seen.links) {
    const [, size, from, offset, name] = model.extents[seen.version[number]];
    const place = from + ":" + offset;
    const counts = !only || (differences ? model.differences[number] : from === image.first + layer);
    if (met.has(place) || (name !== null && isThere(find(name), from, seen))) continue;
    met.add(place);
    if (counts) seen.size[number] = size;
  }
}

/** Say whether what is seen of a path is a file that a layer wrote, and not one that is gone. */
function isThere(number, layer, seen) {
  const version = seen.version[number];
  return version >= 0 && model.layers[version] === layer && kindOf(version) === "f" && seen.words[seen.change[number]] !== "removed";
}
