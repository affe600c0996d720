// Puts the views together once the data is unpacked.

const TABS = { files: "Files", map: "Map", space: "Space", history: "History", config: "Config" };

function drawTabs() {
  $("tabs").replaceChildren(...Object.entries(TABS).map(([name, text]) => make("button", {
    type: "button", role: "tab", id: "tab-" + name, "aria-controls": "view-" + name, text,
    on: { click: () => showTab(name), keydown: (event) => tabKey(event, name) },
  })));
  showTab("files");
}

function showTab(name) {
  for (const one of Object.keys(TABS)) {
    const chosen = one === name;
    const tab = $("tab-" + one);
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    $("view-" + one).hidden = !chosen;
  }
  if (name === "map" && tree.seen) showMap(tree.seen);
  if (name === "files" && tree.seen) drawTree();
}

function tabKey(event, name) {
  const names = Object.keys(TABS);
  const at = names.indexOf(name);
  const places = { ArrowRight: at + 1, ArrowLeft: at - 1 + names.length, Home: 0, End: names.length - 1 };
  if (!(event.key in places) || event.ctrlKey || event.metaKey || event.altKey) return;
  const next = names[places[event.key] % names.length];
  showTab(next);
  $("tab-" + next).focus();
  event.preventDefault();
}

function drawAll() {
  drawHead();
  drawLayers();
  drawSpace();
  drawHistory();
  drawConfig();
  drawFiles(true);
}

function listen() {
  let waiting = 0;
  let drawing = 0;
  tree.onChoose = drawDetails;
  $("filter").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      tree.words = $("filter").value.trim();
      $("tree").scrollTop = 0;
      applyFilter();
    }, 120);
  });
  $("only").addEventListener("change", () => drawFiles(true));
  $("tree").addEventListener("keydown", treeKey);
  $("tree").addEventListener("scroll", () => {
    cancelAnimationFrame(drawing);
    drawing = requestAnimationFrame(drawTree);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target === $("filter")) return;
    showTab("files");
    $("filter").focus();
    event.preventDefault();
  });
  window.addEventListener("resize", () => {
    if ($("view-map").hidden) drawTree();
    else drawMap();
  });
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
}

async function start() {
  await load();
  state.image = model.images[model.images.length - 1];
  state.compare = model.images.length > 1;
  $("main").hidden = false;
  listen();
  drawTabs();
  drawAll();
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  $("problem").hidden = false;
  say($("problem"), "This page cannot be shown: " + (typeof DecompressionStream === "undefined" ? "the browser is too old." : error));
  say($("name"), "pybuild explore");
});
