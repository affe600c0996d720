// Text of strangers, shown so that it can neither act nor pretend: characters that control, hide or reorder are written out.

const ODD = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/gu;

function written(char) {
  const code = char.codePointAt(0);
  if (char === "\n") return "\\n";
  if (char === "\t") return "\\t";
  if (char === "\r") return "\\r";
  // A byte that is no UTF-8 comes as a lone surrogate.
  if (code >= 0xdc80 && code <= 0xdcff) return "\\x" + (code - 0xdc00).toString(16);
  if (code < 0x80) return "\\x" + code.toString(16).padStart(2, "0");
  return "\\u{" + code.toString(16) + "}";
}

/** Return text for places that take only text: titles and labels. */
function plain(text) {
  return String(text).replace(ODD, written);
}

/** Fill an element with text; with `lines`, line ends and tabs are left as they are. */
function say(element, text, lines = false) {
  const value = String(text);
  let at = 0;
  element.textContent = "";
  for (const found of value.matchAll(ODD)) {
    if (lines && (found[0] === "\n" || found[0] === "\t")) continue;
    element.append(value.slice(at, found.index));
    element.append(make("span", { class: "odd", text: written(found[0]) }));
    at = found.index + found[0].length;
  }
  element.append(value.slice(at));
  return element;
}

/** Make an element. `text` goes through `say`; all else are attributes, and `on` listeners. */
function make(name, { text, lines, on, ...attributes } = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  for (const [event, listener] of Object.entries(on || {})) element.addEventListener(event, listener);
  if (text !== undefined) {
    if (attributes.class === "odd") element.textContent = text;
    else say(element, text, lines);
  }
  element.append(...children);
  return element;
}

function $(id) {
  return document.getElementById(id);
}

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** Return bytes with three digits and a decimal unit. */
function amount(bytes) {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return Number(value.toPrecision(3)) + " " + UNITS[unit];
}

function counted(number, one, several) {
  return number.toLocaleString("en") + " " + (number === 1 ? one : several);
}

function short(digest) {
  return String(digest).replace(/^sha256:/, "").slice(0, 12);
}

function moment(seconds) {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString().replace(".000Z", "Z");
}

const TYPES = { f: "-", d: "d", s: "l", h: "-", c: "c", b: "b", p: "p" };
const KINDS = {
  f: "file", d: "directory", s: "symbolic link", h: "hard link", c: "character device", b: "block device", p: "FIFO",
};

/** Return a mode as ls does. */
function modeText(kind, mode) {
  const bits = [];
  for (const [shift, special, on, off] of [[6, 0o4000, "s", "S"], [3, 0o2000, "s", "S"], [0, 0o1000, "t", "T"]]) {
    const three = (mode >> shift) & 7;
    const execute = mode & special ? (three & 1 ? on : off) : three & 1 ? "x" : "-";
    bits.push((three & 4 ? "r" : "-") + (three & 2 ? "w" : "-") + execute);
  }
  return (TYPES[kind] || "?") + bits.join("");
}
