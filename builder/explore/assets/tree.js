// The tree of files: a list of the rows that are open, of which only those on the screen are elements.

const tree = {
  seen: null,
  only: false,
  words: "",
  open: new Set(),
  rows: [], // numbers of the paths that are shown, in order
  places: new Map(), // of a directory: the place of each path that is shown in it, since only some rows are elements
  chosen: -1, // a path
  matching: null, // with a filter: MATCHES, HOLDS and WITHIN of each path
  shut: new Set(), // directories that hold matches and were closed
  onChoose: () => {},
};

const MATCHES = 1;
const HOLDS = 2; // a match
const WITHIN = 4; // a directory that matches

function shown(number) {
  if (tree.seen.version[number] < 0) return false;
  if (tree.only && !tree.seen.changed[number]) return false;
  return !tree.matching || tree.matching[number] > 0;
}

function isDirectory(number) {
  const version = tree.seen.version[number];
  return version >= 0 && kindOf(version) === "d";
}

function hasRows(number) {
  for (let child = number + 1; child < model.ends[number]; child = model.ends[child]) if (shown(child)) return true;
  return false;
}

/** Show other data, and keep what was open and chosen. */
function showTree(seen, only) {
  tree.seen = seen;
  tree.only = only;
  applyFilter();
}

function applyFilter() {
  const text = tree.words.toLowerCase();
  tree.matching = null;
  if (text) {
    const matching = new Uint8Array(model.names.length);
    const whole = text.includes("/");
    for (let number = model.names.length - 1; number > 0; number -= 1) {
      if (tree.seen.version[number] < 0 || (tree.only && !tree.seen.changed[number])) continue;
      const name = whole ? pathOf(number) : model.names[number];
      if (name.toLowerCase().includes(text)) matching[number] |= MATCHES;
      if (matching[number]) matching[model.parents[number]] |= HOLDS;
    }
    for (let number = 1; number < model.names.length; number += 1) {
      if (matching[model.parents[number]] & (MATCHES | WITHIN)) matching[number] |= WITHIN;
    }
    tree.shut.clear();
    tree.matching = matching;
  }
  arrange();
}

const FEW = 60;
const MOST = 300000; // rows: browsers end an element's height at some 10 million pixels

function opened(number) {
  if (number === 0) return true;
  if (tree.matching && tree.matching[number] & HOLDS) return !tree.shut.has(number);
  return tree.open.has(number);
}

/** List the rows that are open. */
function arrange() {
  const rows = [];
  let cut = false;
  for (let number = 1; number < model.names.length; ) {
    if (!shown(number)) {
      number = model.ends[number];
      continue;
    }
    if (rows.length >= MOST) {
      cut = true;
      break;
    }
    rows.push(number);
    number = opened(number) ? number + 1 : model.ends[number];
  }
  tree.rows = rows;
  tree.places.clear();
  tree.cut = cut;
  if (!rows.includes(tree.chosen)) tree.chosen = rows.length ? rows[0] : -1;
  drawTree();
  $("told").textContent = told();
  tree.onChoose(tree.chosen);
}

function told() {
  let entries = 0;
  for (let number = 1; number < model.names.length; number += 1) {
    if (tree.seen.version[number] < 0 || isDirectory(number) || (tree.only && tree.seen.change[number] < 0)) continue;
    if (!tree.matching || tree.matching[number] & MATCHES) entries += 1;
  }
  return counted(entries, "entry", "entries") + (tree.cut ? ", more than are listed" : "");
}

/** Open directories from the top until there is something to look at. */
function openSome() {
  tree.open.clear();
  let level = [];
  for (let child = 1; child < model.names.length; child = model.ends[child]) if (shown(child)) level.push(child);
  let count = level.length;
  while (level.length) {
    const inner = [];
    for (const number of level) {
      if (!isDirectory(number)) continue;
      const children = [];
      for (let child = number + 1; child < model.ends[number] && children.length <= FEW; child = model.ends[child]) {
        if (shown(child)) children.push(child);
      }
      if (!children.length || count + children.length > FEW) continue;
      count += children.length;
      tree.open.add(number);
      inner.push(...children);
    }
    level = inner;
  }
}

function rowHeight() {
  return parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) || 26;
}

function drawTree() {
  const box = $("tree");
  const height = rowHeight();
  const first = Math.max(0, Math.floor(box.scrollTop / height) - 4);
  const last = Math.min(tree.rows.length, first + Math.ceil(box.clientHeight / height) + 9);
  const space = $("space");
  space.style.height = tree.rows.length * height + "px";
  const total = Math.max(1, tree.seen.size[0]);
  const rows = [];
  for (let at = first; at < last; at += 1) rows.push(row(tree.rows[at], at, height, total));
  space.replaceChildren(...rows);
  if (!tree.rows.length) {
    space.replaceChildren(make("p", { class: "empty", text: tree.words ? "Nothing has such a name." : "No files." }));
  }
  if (tree.chosen >= 0) box.setAttribute("aria-activedescendant", "row" + tree.chosen);
  else box.removeAttribute("aria-activedescendant");
}

/** Return the places of all that is shown beside a path. */
function placesOf(number) {
  const parent = model.parents[number];
  let places = tree.places.get(parent);
  if (!places) {
    places = new Map();
    for (let child = parent + 1; child < model.ends[parent]; child = model.ends[child]) if (shown(child)) places.set(child, places.size + 1);
    tree.places.set(parent, places);
  }
  return places;
}

function row(number, at, height, total) {
  const { seen } = tree;
  const version = seen.version[number];
  const change = seen.change[number];
  const { kind, mode, uid, gid } = attributesOf(version);
  const directory = kind === "d";
  const named = change >= 0 ? seen.words[change] : "";
  // A directory is written again with whatever is new in it.
  const word = directory && named === "rewritten" ? "" : named;
  const size = word === "removed" && kind === "f" ? "\u2212" + amount(model.extents[version]) : amount(seen.size[number]);
  const expands = directory && hasRows(number);
  const name = make("span", { class: "name" }, make("span", { class: "twist", "aria-hidden": "true", text: expands ? (opened(number) ? "▾" : "▸") : "" }));
  name.append(make("span", { class: "text", text: model.names[number] + (directory ? "/" : ""), title: plain(pathOf(number)) }));
  if (kind === "s" || kind === "h") {
    name.append(make("span", { class: "to", text: (kind === "s" ? "→ " : "= /") + targetOf(version) }));
  }
  if (word) name.append(make("span", { class: "mark " + word, text: word === "rewritten" ? "written again" : word }));
  const bar = make("span", { class: "meter wide" }, make("i"));
  bar.firstChild.style.width = (100 * seen.size[number]) / total + "%";
  const image = model.images.find((one) => model.layers[version] < one.end);
  const element = make("div", {
    class: "row" + (directory ? " directory" : "") + (number === tree.chosen ? " chosen" : "") + (word === "removed" ? " is-removed" : ""),
    role: "treeitem", id: "row" + number, "aria-level": model.depths[number], "aria-posinset": placesOf(number).get(number), "aria-setsize": placesOf(number).size,
    "aria-selected": String(number === tree.chosen),
    "aria-expanded": expands ? String(opened(number)) : undefined,
    on: { click: () => clicked(number, expands) },
  }, name,
  make("span", { class: "mono wide", text: modeText(kind, mode) }),
  make("span", { class: "mono wide", text: uid + ":" + gid }),
  make("span", { class: "size", text: size }),
  bar,
  make("span", { class: "from", text: String(model.layers[version] - image.first + 1), title: "the layer that wrote it" }));
  element.style.top = at * height + "px";
  name.style.paddingLeft = Math.min(model.depths[number] - 1, 24) * 14 + "px";
  return element;
}

function clicked(number, expands) {
  if (expands) turn(number, !opened(number), number);
  choose(number);
}

function turn(number, open, next = tree.chosen) {
  tree[open ? "open" : "shut"].add(number);
  tree[open ? "shut" : "open"].delete(number);
  tree.chosen = next;
  arrange();
}

function choose(number) {
  tree.chosen = number;
  const at = tree.rows.indexOf(number);
  const box = $("tree");
  const height = rowHeight();
  if (at >= 0 && at * height < box.scrollTop) box.scrollTop = at * height;
  else if (at >= 0 && (at + 1) * height > box.scrollTop + box.clientHeight) box.scrollTop = (at + 1) * height - box.clientHeight;
  drawTree();
  tree.onChoose(number);
}

/** Open all above a path, and choose it. */
function reveal(number) {
  for (let at = model.parents[number]; at > 0; at = model.parents[at]) tree.open.add(at);
  tree.chosen = number;
  arrange();
  choose(number);
}

function treeKey(event) {
  const at = tree.rows.indexOf(tree.chosen);
  const page = Math.max(1, Math.floor($("tree").clientHeight / rowHeight()) - 1);
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -tree.rows.length, End: tree.rows.length };
  if (event.ctrlKey || event.metaKey || event.altKey || !tree.rows.length) return;
  if (event.key in steps) {
    choose(tree.rows[Math.min(tree.rows.length - 1, Math.max(0, at + steps[event.key]))]);
  } else if (event.key === "ArrowRight") {
    if (!hasRows(tree.chosen)) return;
    if (opened(tree.chosen)) choose(tree.rows[at + 1]);
    else turn(tree.chosen, true);
  } else if (event.key === "ArrowLeft") {
    if (opened(tree.chosen) && hasRows(tree.chosen)) turn(tree.chosen, false);
    else if (model.parents[tree.chosen] > 0) choose(model.parents[tree.chosen]);
  } else if (event.key === "Enter" || event.key === " ") {
    if (hasRows(tree.chosen)) turn(tree.chosen, !opened(tree.chosen));
  } else {
    return;
  }
  event.preventDefault();
}
