// All that is not the tree or the map: what is looked at, and what is told about it.

const state = { image: null, layer: null, compare: false };

/** Fill a box with radio buttons. If one of them had the focus, the one that is checked has it. */
function picks(box, name, choices, onPick) {
  const focused = box.contains(document.activeElement);
  box.replaceChildren(...choices.map(({ content, label, checked }, at) =>
    make("label", { class: "pick" },
      make("input", { type: "radio", name, checked, "aria-label": label && plain(label), on: { change: () => onPick(at) } }), content)));
  if (focused) box.querySelector("input:checked").focus();
}

function drawHead() {
  const { image, compare } = state;
  const title = model.images.map((one) => one.name).join("  →  ");
  document.title = plain(title) + " · pybuild explore";
  say($("name"), title);
  const shown = compare ? model.images : [image];
  say($("about"), shown.map((one) => [one.platform, one.created, one.digest].filter(Boolean).join("  ·  ")).join("   →   "));
  if (model.images.length > 1) {
    const choices = ["Differences", ...model.images.map((one) => one.name)];
    $("which").hidden = false;
    picks($("which"), "which", choices.map((text, at) => ({
      content: make("span", { text }), checked: compare ? at === 0 : at === image.number + 1,
    })), (at) => pickImage(at));
  }
  $("cards").replaceChildren(...(compare ? differenceCards() : imageCards(image)).map(([value, word]) =>
    make("li", {}, make("b", { text: value }), make("span", { text: word }))));
}

function imageCards(image) {
  return [
    [String(image.layers.length), image.layers.length === 1 ? "layer" : "layers"],
    [amount(image.size), "as stored and sent"],
    [amount(image.bytes), "in " + counted(image.files, "file", "files")],
    [(100 * image.efficiency).toFixed(1) + " %", "of all bytes can be seen"],
    [amount(image.hiddenBytes), "in " + counted(image.hiddenFiles, "file", "files") + " that later layers hide"],
    [amount(image.equalBytes), "in copies of other files"],
  ];
}

function differenceCards() {
  const [a, b] = model.images;
  const more = b.bytes - a.bytes;
  const shared = b.layers.filter((one) => a.layers.some((other) => other.diffId === one.diffId)).length;
  return [
    ["+" + model.differing.added.toLocaleString("en"), "added"],
    [model.differing.changed.toLocaleString("en"), "with other contents"],
    [model.differing.metadata.toLocaleString("en"), "with other modes or owners"],
    ["−" + model.differing.removed.toLocaleString("en"), "removed"],
    [(more < 0 ? "−" : "+") + amount(Math.abs(more)), "in files, " + amount(b.bytes) + " now"],
    [shared + " of " + b.layers.length, "layers are the same"],
  ];
}

function pickImage(at) {
  state.compare = at === 0;
  state.image = model.images[at ? at - 1 : model.images.length - 1];
  state.layer = null;
  drawAll();
}

// --- layers

function commandOf(step) {
  return step.createdBy || step.comment || "no history";
}

function marks(counts) {
  const words = [["added", "+" + counts.added], ["changed", "~" + counts.changed], ["removed", "−" + counts.removed]];
  return make("span", { class: "marks" }, ...words.filter((_, at) => [counts.added, counts.changed, counts.removed][at])
    .map(([word, text]) => make("span", { class: "mark " + word, text, title: word })));
}

function drawLayers() {
  const { image, layer, compare } = state;
  const most = Math.max(1, ...image.changes.map((one) => one.bytes));
  const all = make("span", { class: "layer" }, make("span", { class: "top" }, make("span", { text: "All layers" }), make("span", { text: amount(image.bytes) })));
  const choices = [{ content: all, checked: layer === null, label: "All layers" }];
  image.layers.forEach((one, number) => {
    const counts = image.changes[number];
    const step = image.history[one.step];
    const bar = make("span", { class: "meter" }, make("i"));
    bar.firstChild.style.width = (100 * counts.bytes) / most + "%";
    const content = make("span", { class: "layer" },
      make("span", { class: "top" }, make("span", { text: "Layer " + (number + 1) }), make("span", { text: amount(counts.bytes) })),
      bar, make("span", { class: "command mono isolate", text: commandOf(step), title: plain(commandOf(step)).slice(0, 1000) }));
    if (step.line) content.append(make("span", { class: "line isolate", text: place(image, step) }));
    content.append(marks(counts));
    choices.push({ content, checked: layer === number, label: "Layer " + (number + 1) + ", " + amount(counts.bytes) });
  });
  picks($("layers"), "layer", choices, (at) => {
    state.layer = at ? at - 1 : null;
    drawFiles(true);
    if ($("view-files").hidden && $("view-map").hidden) showTab("files");
  });
  document.querySelector("aside").hidden = compare;
  $("main").classList.toggle("alone", compare);
}

function place(image, step) {
  const [first, last] = step.line;
  return image.dockerfile + ":" + first + (last > first ? "-" + last : "");
}

// --- files

function drawFiles(fresh) {
  const { image, layer, compare } = state;
  const whole = !compare && layer === null;
  const only = $("only").checked && !whole;
  $("only").parentElement.hidden = whole;
  $("only-text").textContent = compare ? "Only what differs" : "Only what this layer changes";
  const seen = look(compare ? { differences: true, own: only } : { image, layer, own: only });
  tree.seen = seen;
  tree.only = only;
  say($("map-told"), "Areas are sizes of contents" + (!only ? "" : compare ? ", of files that are new or changed" : ", of files that this layer wrote")
    + ". Choose a directory to go into it" + (compare ? "." : ", a layer to see only what it wrote."));
  if (fresh) {
    openSome();
    $("tree").scrollTop = 0;
    map.at = 0;
  }
  showTree(seen, only);
  if (!$("view-map").hidden) showMap(seen);
}

function drawDetails(number) {
  const box = $("details");
  if (number < 0) {
    box.replaceChildren(make("p", { class: "empty", text: "Choose a file to see what the layers did to it." }));
    return;
  }
  const version = tree.seen.version[number];
  const { kind, mode, uid, gid, xattrs } = attributesOf(version);
  const facts = [KINDS[kind] || kind, modeText(kind, mode) + " " + mode.toString(8).padStart(4, "0"), "owner " + uid + ":" + gid, moment(model.times[version])];
  const size = kind === "f" ? model.extents[version] : Array.isArray(model.extents[version]) ? model.extents[version][1] : null;
  if (size !== null) facts.splice(1, 0, amount(size) + " (" + size.toLocaleString("en") + " bytes)");
  box.replaceChildren(make("p", { class: "mono isolate", text: pathOf(number) }), make("p", { class: "empty", text: facts.join("  ·  ") }));
  if (kind === "s" || kind === "h") box.append(make("p", { class: "mono isolate", text: (kind === "s" ? "→ " : "the same file as /") + targetOf(version) }));
  if (kind === "c" || kind === "b") box.append(make("p", { class: "mono", text: "device " + model.extents[version] }));
  if (xattrs.length) box.append(make("p", { class: "mono isolate", text: "extended attributes: " + xattrs.join(", ") }));
  const list = make("ol");
  for (let at = model.starts[number]; at < model.starts[number + 1]; at += 1) list.append(event(at));
  box.append(list);
}

function event(version) {
  const image = model.images.find((one) => model.layers[version] < one.end);
  const layer = model.layers[version] - image.first;
  const change = model.changes[version];
  const text = (model.images.length > 1 ? image.name + ", " : "") + "layer " + (layer + 1) + " ";
  const size = sizeOf(version);
  return make("li", {}, make("span", { class: "isolate", text }), make("span", { class: "mark " + CHANGES[change], text: CHANGE_WORDS[change] }),
    make("span", { class: "isolate empty", text: (size ? " " + amount(size) : "") + "  " + commandOf(image.history[image.layers[layer].step]).slice(0, 200) }));
}

// --- space

/** Say which image is told about where two are compared. */
function whose() {
  return state.compare ? [make("p", { class: "empty isolate", text: "Of " + state.image.name + ":" })] : [];
}

/** Show a path in the tree: in that of all layers, or where a layer removed it. */
function jump(path, layer) {
  const number = find(path);
  if (number < 0) return;
  state.compare = false;
  state.layer = layer;
  tree.words = $("filter").value = "";
  drawHead();
  drawLayers();
  showTab("files");
  drawFiles(true);
  if (tree.seen.version[number] >= 0) reveal(number);
  $("tree").focus({ preventScroll: true });
}

function link(path, layer = null) {
  return make("button", { type: "button", class: "link mono isolate", text: path, on: { click: () => jump(path, layer) } });
}

/** Return a table whose first `numbers` columns are numbers. */
function rowsOf(head, numbers, rows) {
  const cells = (tag, values) => values.map((value, at) => {
    const attributes = { class: at < numbers ? "number" : undefined, scope: tag === "th" ? "col" : undefined };
    return typeof value === "string" ? make(tag, { ...attributes, text: value }) : make(tag, attributes, value);
  });
  return make("div", { class: "scroll" }, make("table", {},
    make("thead", {}, make("tr", {}, ...cells("th", head))), make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells("td", row))))));
}

function drawSpace() {
  const { image } = state;
  const box = $("view-space");
  const numbers = (layers) => layers.map((one) => one + 1).join(", ");
  box.replaceChildren(...whose(), make("h3", { text: "Hidden by later layers: " + amount(image.hiddenBytes) }));
  if (image.hidden.length) {
    box.append(rowsOf(["Bytes", "Path", "In layers", "Then"], 1, image.hidden.map((one) => [
      amount(one.bytes), link(one.path, one.removed ? one.by : null), numbers(one.layers), (one.removed ? "removed by layer " : "replaced by layer ") + (one.by + 1),
    ])));
    if (image.hiddenFiles > image.hidden.length) box.append(make("p", { class: "hint", text: "These cost most of " + counted(image.hiddenFiles, "file", "files") + "." }));
  } else {
    box.append(make("p", { class: "empty", text: "Nothing: every file of every layer is to be seen." }));
  }
  box.append(make("h3", { text: "There more than once: " + amount(image.equalBytes) }));
  if (image.equal.length) {
    box.append(rowsOf(["Bytes", "Times", "Paths"], 2, image.equal.map((one) => {
      const list = make("ul", {}, ...one.paths.map((path) => make("li", {}, link(path))));
      if (one.count > one.paths.length) list.append(make("li", { class: "empty", text: "and " + (one.count - one.paths.length) + " more" }));
      return [amount(one.wasted), String(one.count), list];
    })));
  } else {
    box.append(make("p", { class: "empty", text: "No two files have the same contents." }));
  }
}

// --- history and config

function drawHistory() {
  const { image } = state;
  const list = make("ol", { class: "steps" });
  image.history.forEach((step, number) => {
    const counts = step.layer === null ? null : image.changes[step.layer];
    const top = make("div", { class: "top" }, make("span", { text: "Step " + (number + 1) }));
    if (counts) top.append(make("b", { text: "layer " + (step.layer + 1) }), make("span", { text: amount(counts.bytes) + ", " + amount(image.layers[step.layer].size) + " stored" }), marks(counts));
    else top.append(make("span", { text: "no layer" }));
    if (step.created) top.append(make("span", { class: "isolate", text: step.created }));
    if (step.author) top.append(make("span", { class: "isolate", text: step.author }));
    const item = make("li", { class: "step" + (counts ? "" : " none") }, top, make("pre", { text: commandOf(step), lines: true, tabindex: "0" }));
    if (step.line) item.append(make("div", { class: "source" }, make("div", { class: "top empty isolate", text: place(image, step) }), make("pre", { text: step.line[2], lines: true })));
    if (counts) item.append(make("div", { class: "top" }, make("span", { class: "mono isolate", text: image.layers[step.layer].digest })));
    list.append(item);
  });
  $("view-history").replaceChildren(...whose(), image.history.length ? list : make("p", { class: "empty", text: "The image has no history." }));
}

function valueOf(value) {
  if (value === null || value === undefined || value === "") return make("span", { class: "empty", text: "—" });
  if (Array.isArray(value)) return make("ul", {}, ...value.map((one) => make("li", { class: "mono isolate", text: typeof one === "string" ? one : JSON.stringify(one) })));
  if (typeof value === "object") {
    return make("ul", {}, ...Object.entries(value).map(([key, one]) => {
      const said = typeof one === "string" ? one : JSON.stringify(one);
      return make("li", { class: "mono isolate", text: key + (said === "{}" ? "" : " = " + said) });
    }));
  }
  return make("span", { class: "mono isolate", text: String(value) });
}

function factsOf(image) {
  const { digest, id, platform, created, author, mediaType, config, annotations } = image;
  // Without a prototype, a key of any name is a key.
  const facts = Object.assign(Object.create(null), {
    Name: image.name, Digest: digest, "Image ID": id, Platform: platform, Created: created, Author: author, "Media type": mediaType,
  });
  for (const [key, value] of Object.entries(config)) facts[key] = value;
  if (Object.keys(annotations).length) facts.Annotations = annotations;
  return facts;
}

function drawConfig() {
  const images = state.compare ? model.images : [state.image];
  const facts = images.map(factsOf);
  const keys = [...new Set(facts.flatMap((one) => Object.keys(one)))];
  const body = make("tbody");
  for (const key of keys) {
    const values = facts.map((one) => one[key]);
    const differs = values.length > 1 && JSON.stringify(values[0]) !== JSON.stringify(values[1]);
    if (values.every((one) => one === "" || one === null)) continue;
    body.append(make("tr", { class: differs ? "differs" : undefined }, make("th", { class: "fixed", scope: "row", text: key }), ...values.map((one) => make("td", {}, valueOf(one)))));
  }
  const head = images.length > 1 ? [make("thead", {}, make("tr", {}, make("th"), ...images.map((one) => make("th", { text: one.name }))))] : [];
  $("view-config").replaceChildren(make("div", { class: "scroll" }, make("table", {}, ...head, body)));
}
