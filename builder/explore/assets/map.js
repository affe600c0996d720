// The map of sizes: rectangles as square as can be, what is in a directory inside it.

const map = { at: 0, seen: null };
const LEAST = 14; // pixels: what is smaller is not drawn
const DEEP = 6; // levels
const MANY = 1500; // elements

/** Lay sizes out in a rectangle; yields [index, x, y, width, height]. Sizes are sorted, the largest first. */
function* squares(sizes, x, y, width, height) {
  let left = sizes.reduce((sum, size) => sum + size, 0);
  let at = 0;
  while (at < sizes.length && left > 0 && width > 1 && height > 1) {
    const side = Math.min(width, height);
    const scale = (width * height) / left;
    let end = at;
    let sum = 0;
    let worst = Infinity;
    while (end < sizes.length) {
      const more = sum + sizes[end];
      const thick = (more * scale) / side;
      const largest = (sizes[at] * scale) / thick;
      const smallest = (sizes[end] * scale) / thick;
      const ratio = Math.max(thick / smallest, largest / thick);
      if (ratio > worst) break;
      worst = ratio;
      sum = more;
      end += 1;
    }
    const thick = (sum * scale) / side;
    let along = 0;
    for (; at < end; at += 1) {
      const long = ((sizes[at] * scale) / thick) || 0;
      if (width >= height) yield [at, x, y + along, thick, long];
      else yield [at, x + along, y, long, thick];
      along += long;
    }
    if (width >= height) {
      x += thick;
      width -= thick;
    } else {
      y += thick;
      height -= thick;
    }
    left -= sum;
  }
}

function inside(number) {
  const found = [];
  for (let child = number + 1; child < model.ends[number]; child = model.ends[child]) if (map.seen.size[child] > 0) found.push(child);
  return found.sort((a, b) => map.seen.size[b] - map.seen.size[a]);
}

function showMap(seen) {
  map.seen = seen;
  if (!map.seen.size[map.at]) map.at = 0;
  drawMap();
}

function goTo(number) {
  map.at = number;
  drawMap();
  const cell = $("map").querySelector("button") || $("crumbs").querySelector("button:last-of-type");
  if (cell) cell.focus({ preventScroll: true });
}

function drawMap() {
  const box = $("map");
  const { width, height } = box.getBoundingClientRect();
  drawCrumbs();
  const cells = [];
  const todo = [];
  spread(inside(map.at), [0, 0, width, height], 0, null, todo);
  // Level by level: where there are too many, small ones are left out everywhere, and not all of one directory.
  for (let at = 0; at < todo.length && cells.length < MANY; at += 1) fill(todo[at], cells, todo);
  box.replaceChildren(...cells);
  if (!cells.length) box.replaceChildren(make("p", { class: "empty", text: "Nothing here has a size." }));
}

/** Note where paths are to be drawn; without a colour, each has its own. */
function spread(children, [left, top, width, height], level, colour, todo) {
  for (const [at, x, y, wide, high] of squares(children.map((one) => map.seen.size[one]), left, top, width, height)) {
    if (wide < LEAST / 2 || high < LEAST / 2) continue;
    todo.push({ number: children[at], x, y, wide, high, level, colour: colour === null ? at % 8 : colour });
  }
}

/** Draw what is at a path, and note what is inside as long as that can be told apart. */
function fill(place, cells, todo) {
  const { x, y, wide, high, level, colour } = place;
  let number = place.number;
  let children = isFileTree(number) ? inside(number) : [];
  // Directories with nothing but one more are drawn as one.
  while (children.length === 1 && isFileTree(children[0])) {
    number = children[0];
    children = inside(number);
  }
  cells.push(cell(place.number, number, x, y, wide, high, colour, level));
  const head = level ? 18 : 34;
  if (level === DEEP || wide < 60 || high < head + 22) return;
  // Where one directory is nearly all, colours tell apart what is in it.
  const most = level < 2 && map.seen.size[number] > 0.6 * map.seen.size[map.at];
  spread(children, [x + 3, y + head, wide - 6, high - head - 3], level + 1, most ? null : colour, todo);
}

function isFileTree(number) {
  return map.seen.version[number] >= 0 && kindOf(map.seen.version[number]) === "d";
}

function cell(first, number, x, y, wide, high, colour, level) {
  const goes = isFileTree(number);
  const size = amount(map.seen.size[number]);
  const end = goes ? "/" : "";
  const label = plain(pathOf(number)) + end + ", " + size;
  const element = make(goes ? "button" : "div", {
    class: "cell m" + colour + (level ? " inner" : "") + (goes ? " goes" : ""),
    type: goes ? "button" : undefined, role: goes ? undefined : "img", title: label, "aria-label": label,
    on: goes ? { click: () => goTo(number) } : {},
  });
  const above = pathOf(model.parents[first]);
  const name = pathOf(number).slice(above === "/" ? 1 : above.length + 1) + end;
  if (wide < 12 || high < 12) element.classList.add("tiny");
  if (wide > 34 && high > 15) element.append(make("span", { text: level && goes ? name + "  " + size : name }));
  if (wide > 44 && high > 31 && !(level && goes)) element.append(make("span", { class: "much", text: size }));
  Object.assign(element.style, { left: x + "px", top: y + "px", width: wide + "px", height: high + "px" });
  return element;
}

function drawCrumbs() {
  const path = [];
  for (let at = map.at; at > 0; at = model.parents[at]) path.push(at);
  const parts = [0, ...path.reverse()].map((number, index) => [
    make("button", { type: "button", text: number ? model.names[number] : "all", on: { click: () => goTo(number) }, "aria-current": number === map.at ? "location" : undefined }),
    ...(index < path.length ? [make("span", { text: "/" })] : []),
  ]);
  $("crumbs").replaceChildren(...parts.flat(), make("span", { class: "empty", text: " " + amount(map.seen.size[map.at]) }));
}
