"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);
  const tall = (element) => { element.hidden = false; return element; };

  // The filter. Its state is the URL's hash, so that a view can be linked: #model=...&reading=holds,falls

  const KEYS = ["model", "chapter", "protocol", "verdict", "reading", "text"];
  const form = tall(document.getElementById("Filter"));
  const status = document.getElementById("Status");
  const chapters = all(".chapter").map((element) => ({
    element,
    slug: element.dataset.chapter,
    figures: all("figure", element),
    claims: all(".claim", element).map((claim) => ({
      element: claim,
      search: claim.dataset.search,
      table: one("table.rows", claim),
      quiet: one("details.quiet", claim),
      rows: all(".row", claim).map((row) => ({
        element: row,
        models: row.dataset.models.split(" "),
        reading: row.dataset.reading,
        published: row.dataset.published,
        sound: row.dataset.sound,
        label: row.dataset.label,
      })),
    })),
  }));

  function readHash() {
    const text = location.hash.slice(1);
    const given = new URLSearchParams(text.includes("=") ? text : "");
    return Object.fromEntries(KEYS.map((key) => [key, given.get(key) || ""]));
  }

  function hashOf(state) {
    const given = new URLSearchParams();
    for (const key of KEYS) if (state[key]) given.set(key, state[key]);
    return `#${given.toString().replaceAll("%2C", ",")}`;
  }

  function rowMatches(row, state) {
    if (state.verdict) {
      const judged = state.protocol ? [row[state.protocol]] : [row.published, row.sound];
      return judged.includes(state.verdict);
    }
    return !state.protocol || row[state.protocol] !== undefined;
  }

  function apply() {
    const state = readHash();
    const readings = state.reading ? state.reading.split(",") : [];
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    const narrow = state.protocol || state.verdict || state.reading || state.text; // then claims are looked for
    const facets = new Map();
    const count = (key) => facets.set(key, (facets.get(key) || 0) + 1);
    let rowsShown = 0;
    let claimsShown = 0;
    for (const chapter of chapters) {
      let inChapter = 0;
      for (const claim of chapter.claims) {
        const asked = (!state.chapter || state.chapter === chapter.slug) && words.every((word) => claim.search.includes(word));
        const visible = [];
        for (const row of claim.rows) {
          const matches = asked && rowMatches(row, state);
          const ofModel = !state.model || row.models.includes(state.model);
          const ofReading = !readings.length || readings.includes(row.reading);
          if (matches) {
            for (const model of row.models) {
              count(`${model}|${row.reading}`);
              if (!row.element.classList.contains("computed")) count(`${model}|`);
            }
            if (row.element.classList.contains("computed")) count(`|${row.reading}`);
            if (ofModel) count(`reading ${row.reading}`);
          }
          row.element.hidden = !(matches && ofModel && ofReading);
          if (!row.element.hidden) visible.push(row);
        }
        claim.element.hidden = !visible.length;
        if (claim.table) claim.table.hidden = !visible.some((row) => row.element.tagName === "TBODY");
        if (claim.quiet) {
          const quiet = visible.filter((row) => row.element.tagName === "LI");
          claim.quiet.hidden = !quiet.length;
          one("summary", claim.quiet).textContent = `Not run: ${quiet.map((row) => row.label).join(", ")}`;
        }
        rowsShown += visible.length;
        claimsShown += visible.length > 0;
        inChapter += visible.length;
      }
      chapter.element.hidden = !inChapter;
      for (const figure of chapter.figures) figure.hidden = Boolean(narrow || (state.model && state.model !== figure.dataset.model));
    }
    status.textContent = `${claimsShown} ${claimsShown === 1 ? "claim" : "claims"}, ${rowsShown} ${rowsShown === 1 ? "row" : "rows"}`;
    document.getElementById("Nothing").hidden = rowsShown > 0;
    showState(state, readings, facets);
  }

  function showState(state, readings, facets) {
    for (const key of ["model", "chapter", "protocol", "verdict"]) form.elements[key].value = state[key];
    if (document.activeElement !== form.elements.text) form.elements.text.value = state.text;
    for (const box of all("input[name=reading]", form)) box.checked = readings.includes(box.value);
    for (const output of all("output[data-facet]", form)) output.textContent = facets.get(`reading ${output.dataset.facet}`) || 0;
    for (const line of all("tr[data-line]")) one(".total", line).textContent = facets.get(`${line.dataset.line}|`) || "";
    for (const link of all("a[data-pick-model], a[data-pick-reading]")) {
      const { pickModel: model = "", pickReading: reading = "" } = link.dataset;
      const now = state.model === model && state.reading === reading;
      link.href = hashOf({ ...state, model: now ? "" : model, reading: now ? "" : reading });
      if (now) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
      const found = facets.get(`${model}|${reading}`) || 0;
      if (link.closest("td")) {
        link.textContent = found || "";
        link.setAttribute("aria-label", `${one("th", link.closest("tr")).textContent}: ${found} ${reading}`);
        link.tabIndex = found ? 0 : -1;
      } else if (link.closest(".arithmetic")) link.textContent = `${found} ${reading}`;
    }
  }

  function fromForm() {
    const state = Object.fromEntries(KEYS.map((key) => [key, key === "reading" ? "" : form.elements[key].value.trim()]));
    state.reading = all("input[name=reading]:checked", form).map((box) => box.value).join(",");
    return state;
  }

  function follow() {
    apply();
    const anchor = location.hash.slice(1);
    if (!anchor || anchor.includes("=")) return;
    const target = document.getElementById(decodeURIComponent(anchor));
    if (target) target.scrollIntoView();
  }

  const toClaims = () => document.getElementById("Claims").scrollIntoView();

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => { if (event.target.name !== "text") location.hash = hashOf(fromForm()); });
  form.elements.text.addEventListener("input", () => { history.replaceState(null, "", hashOf(fromForm())); apply(); });
  form.elements.clear.addEventListener("click", () => { form.reset(); location.hash = "#"; });
  document.getElementById("Overview").addEventListener("click", (event) => {
    if (event.target.closest("a[data-pick-model], a[data-pick-reading]")) {
      setTimeout(toClaims, 0);
    }
  });
  window.addEventListener("hashchange", follow);

  // The heat maps

  const RAMP = ["#ffffd9", "#edf8b1", "#c7e9b4", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8", "#253494", "#081d58"]; // ColorBrewer YlGnBu
  const TITLES = { families: "Skipping one block, by task family", heads: "Setting one head to zero" };
  const LEFT = { families: 150, heads: 40 };
  const CELL = { width: 22, height: 20 };
  const models = JSON.parse(document.getElementById("Maps-data").textContent);
  const controls = document.getElementById("Map-controls");
  const grid = document.getElementById("Map-grid");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const orders = {};

  function element(name, attributes = {}, text = "") {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  }

  function colour(share) {
    const ramp = dark.matches ? [...RAMP].reverse() : RAMP;
    const at = Math.min(Math.max(share, 0), 1) * (ramp.length - 1);
    const low = Math.min(Math.floor(at), ramp.length - 2);
    const part = (hex, i) => parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
    const mixed = [0, 1, 2].map((i) => Math.round(part(ramp[low], i) + (at - low) * (part(ramp[low + 1], i) - part(ramp[low], i))));
    return `rgb(${mixed.join(",")})`;
  }

  function scaleOf(values, kind) {
    const known = values.flat().filter((value) => value !== null);
    const top = Math.max(...known);
    if (kind === "linear") return { low: 0, high: top, share: (value) => (top > 0 ? value / top : 0) };
    const low = Math.min(...known.filter((value) => value > 0));
    const span = Math.log(top / low) || 1;
    return { low, high: top, share: (value) => (value > 0 ? Math.log(value / low) / span : 0) };
  }

  function sorted(length, valueAt) {
    const rank = (i) => (valueAt(i) === null ? -Infinity : valueAt(i));
    return [...Array(length).keys()].sort((a, b) => rank(b) - rank(a) || a - b);
  }

  function drawMap(model, kind, map) {
    const draw = map.draws[controls.elements.draw.value];
    const order = (orders[`${model.model} ${kind}`] ??= {});
    const byRow = order.byRow, byLayer = order.byLayer;
    const rows = byLayer === undefined ? [...map.rows.keys()] : sorted(map.rows.length, (i) => draw.values[i][byLayer]);
    const layers = byRow === undefined ? [...Array(map.layers).keys()] : sorted(map.layers, (j) => draw.values[byRow][j]);
    const scale = scaleOf(draw.values, controls.elements.scale.value);
    const left = LEFT[kind], width = left + map.layers * CELL.width + 8, height = map.rows.length * CELL.height + 24;
    const svg = element("svg", { width, height, tabindex: 0, role: "img", "aria-label": `${model.title}: ${TITLES[kind]}, by layer; arrow keys move from cell to cell` });
    const said = document.createElement("output");
    const rest = "KL(base || edited) in nats";
    const tell = (i, j) => {
      const value = draw.values[i][j];
      const [prompts, templates] = draw.n[Math.min(i, draw.n.length - 1)];
      said.textContent = `L${j}${kind === "heads" ? map.rows[i] : `, ${map.rows[i]}`}: ${value === null ? "not measured" : `${value} nats`} (n = ${prompts} prompts / ${templates} templates)`;
    };
    const cursor = element("rect", { class: "cursor", width: CELL.width, height: CELL.height, visibility: "hidden" });
    const place = [0, 0];
    const show = (y, x) => {
      [place[0], place[1]] = [y, x];
      cursor.setAttribute("x", left + x * CELL.width);
      cursor.setAttribute("y", y * CELL.height);
      cursor.setAttribute("visibility", "visible");
      tell(rows[y], layers[x]);
    };
    const hide = () => { cursor.setAttribute("visibility", "hidden"); said.textContent = rest; };
    const sortBy = (change) => { Object.assign(order, change); redraw(kind); };
    rows.forEach((i, y) => {
      const name = element("text", { x: left - 6, y: y * CELL.height + 14, "text-anchor": "end", class: byRow === i ? "name sorted" : "name", "data-row": map.rows[i] }, map.rows[i]);
      name.addEventListener("click", () => sortBy({ byRow: i }));
      svg.append(name);
      layers.forEach((j, x) => {
        const value = draw.values[i][j];
        const cell = element("rect", { class: "cell", x: left + x * CELL.width, y: y * CELL.height, width: CELL.width, height: CELL.height, fill: value === null ? "none" : colour(scale.share(value)), "data-row": map.rows[i], "data-layer": j });
        cell.addEventListener("pointerenter", () => show(y, x));
        svg.append(cell);
      });
    });
    layers.forEach((j, x) => {
      const name = element("text", { x: left + (x + 0.5) * CELL.width, y: rows.length * CELL.height + 15, "text-anchor": "middle", class: byLayer === j ? "name sorted" : "name", "data-layer": j }, `${x ? "" : "L"}${j}`);
      name.addEventListener("click", () => sortBy({ byLayer: j }));
      svg.append(name);
    });
    svg.append(cursor);
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") hide(); });
    svg.addEventListener("blur", hide);
    svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) show(...place); });
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (step) show(Math.min(Math.max(place[0] + step[0], 0), rows.length - 1), Math.min(Math.max(place[1] + step[1], 0), layers.length - 1));
      else if (event.key === "Enter") sortBy(event.shiftKey ? { byRow: rows[place[0]] } : { byLayer: layers[place[1]] });
      else return;
      event.preventDefault();
    });
    said.textContent = rest;
    return framed(kind, svg, said, scale);
  }

  function framed(kind, svg, said, scale) {
    const figure = document.createElement("figure");
    figure.className = "map";
    figure.dataset.map = kind;
    const caption = document.createElement("figcaption");
    caption.textContent = TITLES[kind];
    const value = document.createElement("p");
    value.className = "value";
    said.setAttribute("aria-live", "polite");
    value.append(said);
    const box = document.createElement("div");
    box.className = "scroll";
    box.append(svg);
    figure.append(caption, value, box, legend(scale));
    return figure;
  }

  function legend(scale) {
    const line = document.createElement("div");
    line.className = "legend";
    const bar = element("svg", { width: 160, height: 12, role: "img", "aria-label": "Colour scale" });
    for (let i = 0; i < 40; i += 1) bar.append(element("rect", { x: 4 * i, width: 4.5, height: 12, fill: colour(i / 39) }));
    const word = (value) => { const text = document.createElement("span"); text.textContent = value; return text; };
    line.append(word(`${scale.low}`), bar, word(`${scale.high} nats`));
    return line;
  }

  function redraw(focused) {
    const model = models.find((found) => found.model === controls.elements.model.value);
    grid.replaceChildren(...Object.entries(model.maps).map(([kind, map]) => drawMap(model, kind, map)));
    const svg = focused && one(`[data-map=${focused}] svg[tabindex]`, grid);
    if (svg) svg.focus({ preventScroll: true });
  }

  function option(value, text) {
    const made = document.createElement("option");
    made.value = value;
    made.textContent = text;
    return made;
  }

  if (models.length) {
    tall(document.getElementById("Maps"));
    const draws = Object.keys(Object.values(models[0].maps)[0].draws);
    controls.elements.model.append(...models.map((model) => option(model.model, model.title)));
    controls.elements.draw.append(...draws.sort((a, b) => (b === "pooled") - (a === "pooled") || a - b).map((draw) => option(draw, draw === "pooled" ? "all seeds" : `seed ${draw}`)));
    controls.addEventListener("change", () => redraw());
    controls.addEventListener("submit", (event) => event.preventDefault());
    controls.elements.order.addEventListener("click", () => { for (const key of Object.keys(orders)) delete orders[key]; redraw(); });
    dark.addEventListener("change", () => redraw());
    const choose = () => {
      const asked = readHash().model;
      if (models.some((model) => model.model === asked)) controls.elements.model.value = asked;
      redraw();
    };
    window.addEventListener("hashchange", choose);
    choose();
  }
  follow();
  if (location.hash.includes("=")) toClaims();
})();
