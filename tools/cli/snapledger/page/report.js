// The page of `snapledger report`: folds the columns of events and shows what comes of them.
//
// Whatever comes from the store is shown by `text`, which makes every character visible that could
// act on a page or a reader, and only ever as text of an element. The tree shows no more rows than
// fit: a store may have ten thousand snapshots.
"use strict";
(() => {
  const ROW_PX = 24, PRINTED_ROWS_MAX = 3000, FOUND_MAX = 200, POINTS_MAX = 1200, ACTORS_MAX = 12;
  const KINDS = ["active", "view", "committed", null, null, "committed", "active", "view"];
  const COMMITTED = 2, UPDATED = 3, REMOVED = 4;
  const data = JSON.parse(document.getElementById("data").textContent);
  const { strings, batches, events, operations } = data;
  const batchCount = batches.time.length;
  const get = (id) => document.getElementById(id);

  // --- Texts -----------------------------------------------------------------------------------

  const HIDDEN = /[\p{C}\p{Z}]/gu;
  const shown = (text) => text.replaceAll("\\", "\\\\").replace(HIDDEN, (one) =>
    one === " " ? one : `\\u{${one.codePointAt(0).toString(16)}}`);
  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const number = d3.format(",");
  const bytes = (size) => {
    let unit = 0, value = size;
    while (value >= 1024 && unit < 5) { value /= 1024; unit += 1; }
    return unit ? `${value.toFixed(1)} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit]}` : `${size} B`;
  };
  const time = (place) => new Date(batches.time[place]).toISOString();
  // ISO, in UTC as all times here: the date, or within a day the time as far as it is not zero.
  const dated = (date) => {
    const iso = date.toISOString();
    if (iso.endsWith("T00:00:00.000Z")) return iso.slice(0, 10);
    return iso.endsWith(":00.000Z") ? iso.slice(11, 16) : iso.endsWith(".000Z") ? iso.slice(11, 19) : iso.slice(11, 23);
  };
  const who = (place) => {
    const actor = shown(strings[batches.actor[place]]), reason = shown(strings[batches.reason[place]]);
    return [actor && `by ${actor}`, reason && `because ${reason}`].filter(Boolean).join(", ");
  };

  // --- The fold --------------------------------------------------------------------------------

  // The steps of each snapshot, by its id: place of the batch (-1: before the first one), number of
  // the operation, and the fields that hold from then on.
  const stories = new Map();
  const step = (id, place, op, fields) => {
    const story = stories.get(id);
    if (story) story.push({ place, op, ...fields }); else stories.set(id, [{ place, op, ...fields }]);
  };
  const counts = new Int32Array(batchCount + 1), sizes = new Float64Array(batchCount + 1);
  let count = 0, size = 0;
  for (const [op, id, name, parent, labels, own] of data.start) {
    step(id, -1, op, { kind: KINDS[op], name, parent, labels, size: own });
    count += 1; size += own;
  }
  counts[0] = count; sizes[0] = size;
  let filled = 0;
  for (let i = 0; i < events.batch.length; i += 1) {
    const place = events.batch[i], op = events.op[i], id = events.id[i];
    while (filled < place) { filled += 1; counts[filled] = count; sizes[filled] = size; }
    const known = stories.get(id), before = known && known[known.length - 1];
    const fields = { kind: KINDS[op], name: events.name[i], parent: events.parent[i],
      labels: events.labels[i], size: events.size[i] };
    if (op === UPDATED && before) Object.assign(fields, { kind: before.kind, parent: before.parent, size: before.size });
    if (op === REMOVED) {
      if (before) Object.assign(fields, { parent: before.parent, labels: before.labels });
      if (before && before.op !== REMOVED) { count -= 1; size -= before.kind === "committed" ? before.size : 0; }
      fields.kind = null; fields.size = before ? before.size : 0;
    } else if (op === COMMITTED) size += fields.size;
    else if (op !== UPDATED) { count += 1; size += fields.kind === "committed" ? fields.size : 0; }
    step(id, place, op, fields);
  }
  while (filled < batchCount) { filled += 1; counts[filled] = count; sizes[filled] = size; }

  // `moment` is how many of the batches have happened.
  const stateAt = (story, moment) => {
    let low = 0, high = story.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (story[middle].place < moment) low = middle + 1; else high = middle;
    }
    return low ? story[low - 1] : null;
  };
  const revisionOf = (moment) => data.first_revision + moment - 1;

  // --- The tree --------------------------------------------------------------------------------

  let moment = batchCount, chosen = null, rows = [];
  const folded = new Set();
  const orders = new Int32Array(strings.length);
  strings.map((text, index) => index).sort((a, b) => (strings[a] < strings[b] ? -1 : 1))
    .forEach((index, order) => { orders[index] = order; });

  const treeRows = () => {
    const children = new Map(), there = new Set(), all = [];
    for (const [id, story] of stories) {
      const state = stateAt(story, moment);
      if (state && state.op !== REMOVED) { all.push({ id, state }); there.add(state.name); }
    }
    all.sort((a, b) => orders[a.state.name] - orders[b.state.name]);
    for (const node of all) {
      const parent = there.has(node.state.parent) ? node.state.parent : 0;
      if (children.has(parent)) children.get(parent).push(node); else children.set(parent, [node]);
    }
    const found = [], waiting = [];
    const push = (parent, depth) => {
      const below = children.get(parent) || [];
      for (let i = below.length - 1; i >= 0; i -= 1) waiting.push({ ...below[i], depth });
    };
    push(0, 0);
    while (waiting.length) {
      const row = waiting.pop();
      row.children = (children.get(row.state.name) || []).length;
      found.push(row);
      if (row.children && !folded.has(row.id)) push(row.state.name, row.depth + 1);
    }
    get("tree-count").textContent = `${number(all.length)} snapshots`;
    return found;
  };

  const rowElement = (row, index) => {
    const made = element("div", `row${row.id === chosen ? " chosen" : ""}`);
    made.id = `row-${index}`;
    made.setAttribute("role", "treeitem");
    made.setAttribute("aria-level", row.depth + 1);
    made.setAttribute("aria-selected", row.id === chosen);
    if (row.children) made.setAttribute("aria-expanded", !folded.has(row.id));
    made.dataset.id = row.id;
    made.style.paddingLeft = `${0.4 + 1.1 * Math.min(row.depth, 60)}rem`;
    const fold = element("span", "fold", row.children ? (folded.has(row.id) ? "▸" : "▾") : "");
    fold.addEventListener("click", (event) => { event.stopPropagation(); toggle(row); });
    const facts = row.state.kind === "committed" ? bytes(row.state.size) : row.state.kind;
    made.append(fold, element("bdi", `name ${row.state.kind}`, shown(strings[row.state.name])),
      element("span", "facts", `${facts} · id ${row.id}`));
    made.addEventListener("click", () => choose(row.id));
    return made;
  };
  const tree = get("tree"), space = get("tree-space"), holder = get("tree-rows");
  const drawRows = (first, last) => {
    holder.replaceChildren(...rows.slice(first, last).map((row, i) => rowElement(row, first + i)));
    holder.style.transform = `translateY(${first * ROW_PX}px)`;
    const at = rows.findIndex((row) => row.id === chosen);
    if (at >= first && at < last) tree.setAttribute("aria-activedescendant", `row-${at}`);
    else tree.removeAttribute("aria-activedescendant");
  };
  const drawVisible = () => {
    const first = Math.max(0, Math.floor(tree.scrollTop / ROW_PX) - 5);
    drawRows(first, first + Math.ceil(tree.clientHeight / ROW_PX) + 10);
  };
  let isAwaited = false;  // whether what was chosen comes with the tree that is drawn next
  const drawTree = () => {
    rows = treeRows();
    space.style.height = `${rows.length * ROW_PX}px`;
    drawVisible();
    if (isAwaited) reveal();
    isAwaited = false;
  };
  const toggle = (row) => {
    if (folded.has(row.id)) folded.delete(row.id); else folded.add(row.id);
    drawTree();
  };
  const reveal = () => {
    const at = rows.findIndex((row) => row.id === chosen);
    isAwaited = at < 0;
    if (isAwaited) return;
    const top = at * ROW_PX;
    if (top < tree.scrollTop || top > tree.scrollTop + tree.clientHeight - 2 * ROW_PX) {
      tree.scrollTop = Math.max(0, top - tree.clientHeight / 2);
    }
    drawVisible();
  };
  tree.addEventListener("scroll", () => requestAnimationFrame(drawVisible));
  tree.addEventListener("keydown", (event) => {
    const at = rows.findIndex((row) => row.id === chosen), row = rows[at];
    const page = Math.floor(tree.clientHeight / ROW_PX);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -rows.length, End: rows.length };
    if (event.key in moves && rows.length) {
      const next = Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + moves[event.key]));
      choose(rows[next].id);
    } else if (event.key === "ArrowLeft" && row && row.children && !folded.has(row.id)) toggle(row);
    else if (event.key === "ArrowRight" && row && folded.has(row.id)) toggle(row);
    else if (event.key === "Enter" && row) get("story").scrollIntoView({ block: "nearest" });
    else return;
    event.preventDefault();
  });

  // --- A snapshot's story ----------------------------------------------------------------------

  const labelsOf = (index) => {
    const pairs = data.labels[index], texts = [];
    for (let i = 0; i < pairs.length; i += 2) texts.push([strings[pairs[i]], strings[pairs[i + 1]]]);
    return texts;
  };
  const drawStory = () => {
    const story = stories.get(chosen), place = get("story");
    if (!story) { place.replaceChildren(element("p", "hint", "Choose a snapshot.")); return; }
    const state = stateAt(story, moment), list = element("ol"), facts = element("dl");
    const fact = (name, text) => facts.append(element("dt", "", name), element("dd", "name", text));
    fact("id", String(chosen));
    if (state && state.op !== REMOVED) {
      fact("name", shown(strings[state.name]));
      fact("kind", state.kind);
      if (state.parent) fact("parent", shown(strings[state.parent]));
      if (state.kind === "committed") fact("size", `${number(state.size)} bytes`);
      for (const [key, value] of labelsOf(state.labels)) fact("label", `${shown(key)} = ${shown(value)}`);
    } else fact("state", state ? "removed" : "not there yet");
    for (const each of story) {
      const item = element("li");
      if (each.place < 0) item.append("there before the history that is kept");
      else {
        const button = element("button", "", `revision ${revisionOf(each.place + 1)}`);
        button.type = "button";
        button.addEventListener("click", () => setMoment(each.place + 1));
        item.append(button, ` ${operations[each.op]} `, element("bdi", "name", shown(strings[each.name])),
          element("br"), element("small", "", `${time(each.place)} ${who(each.place)}`));
      }
      list.append(item);
    }
    place.replaceChildren(facts, list);
  };
  const choose = (id) => { chosen = id; drawStory(); reveal(); remember(); };

  // --- Search ----------------------------------------------------------------------------------

  const search = get("search");
  const matches = (story, hits) => story.find((each) => hits[each.name] ||
    data.labels[each.labels].some((index) => hits[index]) ||
    (each.place >= 0 && (hits[batches.actor[each.place]] || hits[batches.reason[each.place]])));
  const drawFound = () => {
    const wanted = search.value.trim().toLowerCase(), list = get("found"), items = [];
    let more = false;
    if (wanted) {
      const hits = strings.map((text) => text.toLowerCase().includes(wanted));
      for (const [id, story] of stories) {
        const hit = matches(story, hits);
        if (!hit) continue;
        if (items.length === FOUND_MAX) { more = true; break; }
        const button = element("button"), last = story[story.length - 1];
        button.type = "button";
        button.append(element("bdi", "name", shown(strings[last.name])),
          element("small", "", ` id ${id}${last.op === REMOVED ? ", removed" : ""}`));
        button.addEventListener("click", () => {
          if (!rows.some((row) => row.id === id)) setMoment(last.op === REMOVED ? last.place : batchCount);
          choose(id);
        });
        const item = element("li");
        item.append(button);
        items.push(item);
      }
      if (more) items.push(element("li", "hint", `the first ${FOUND_MAX}`));
      if (!items.length) items.push(element("li", "hint", "nothing found"));
    }
    list.replaceChildren(...items);
  };
  let waitingSearch = 0;
  search.addEventListener("input", () => { clearTimeout(waitingSearch); waitingSearch = setTimeout(drawFound, 80); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search) { search.focus(); event.preventDefault(); }
  });

  // --- Charts ----------------------------------------------------------------------------------

  const WIDTH = 420, HEIGHT = 150, MARGIN = { left: 56, right: 8, top: 8, bottom: 20 }, TICK = 9, GAP = 4;
  const ACTOR_WIDTH = 120;
  const points = d3.range(0, batchCount + 1, Math.max(1, Math.ceil(batchCount / POINTS_MAX)));
  if (points[points.length - 1] !== batchCount) points.push(batchCount);
  const dates = batchCount ? [batches.time[0], batches.time[batchCount - 1]] : [0, 1];
  const dateAt = (at) => (at ? batches.time[at - 1] : dates[0]);
  const markers = [];
  // How wide texts are is known once they are drawn: the axes come first, and the plot gets the rest.
  const widest = (drawn) => d3.max(drawn.selectAll("text").nodes(), (text) => text.getComputedTextLength()) || 0;
  const shorten = (text, width) => {
    if (text.getComputedTextLength() <= width) return;
    const letters = [...text.textContent];
    let low = 0, high = Math.min(letters.length - 1, 100);  // so many fit
    const show = (kept) => { text.textContent = `${letters.slice(0, kept).join("")}…`; };
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      show(middle);
      if (text.getComputedTextLength() > width) high = middle - 1; else low = middle;
    }
    show(low);
  };
  const chart = (id, values, format) => {
    const svg = d3.select(`#${id}`).attr("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    const x = d3.scaleUtc(dates, [MARGIN.left, WIDTH - MARGIN.right]);
    const y = d3.scaleLinear([0, d3.max(points, (at) => values[at]) || 1], [HEIGHT - MARGIN.bottom, MARGIN.top]).nice(4);
    const below = svg.append("g"), beside = svg.append("g");
    const drawAxes = () => {
      below.attr("transform", `translate(0,${y(0)})`).call(d3.axisBottom(x).ticks(4).tickFormat(dated));
      beside.attr("transform", `translate(${x.range()[0]},0)`).call(d3.axisLeft(y).ticks(4).tickFormat(format));
    };
    drawAxes();
    x.range([Math.max(MARGIN.left, widest(beside) + TICK + GAP), WIDTH - Math.max(MARGIN.right, widest(below) / 2 + GAP)]);
    drawAxes();
    let taken = -Infinity;
    below.selectAll(".tick").each(function keepApart(date) {
      const text = d3.select(this).select("text"), half = text.node().getComputedTextLength() / 2;
      if (x(date) - half < taken) text.remove(); else taken = x(date) + half + GAP;
    });
    const area = d3.area().curve(d3.curveStepAfter).x((at) => x(dateAt(at))).y0(y(0)).y1((at) => y(values[at]));
    svg.append("path").attr("class", "area").attr("d", area(points));
    svg.append("path").attr("class", "line").attr("d", area.lineY1()(points));
    const line = svg.append("line").attr("class", "now").attr("y1", MARGIN.top).attr("y2", HEIGHT - MARGIN.bottom);
    markers.push(() => line.attr("x1", x(dateAt(moment))).attr("x2", x(dateAt(moment))));
    svg.append("rect").attr("class", "hit").attr("width", WIDTH).attr("height", HEIGHT)
      .on("click", (event) => setMoment(d3.bisectRight(batches.time, x.invert(d3.pointer(event)[0]).getTime())));
  };
  const drawActors = () => {
    const commits = new Map();
    for (const actor of batches.actor) commits.set(actor, (commits.get(actor) || 0) + 1);
    const sorted = [...commits].sort((a, b) => b[1] - a[1]), bars = sorted.slice(0, ACTORS_MAX)
      .map(([actor, value]) => ({ name: actor ? shown(strings[actor]) : "(nobody named)", actor, value }));
    const rest = d3.sum(sorted.slice(ACTORS_MAX), (each) => each[1]);
    if (rest) bars.push({ name: `${sorted.length - ACTORS_MAX} others`, actor: 0, value: rest });
    const height = Math.max(HEIGHT, bars.length * 18);
    const svg = d3.select("#actors").attr("viewBox", `0 0 ${WIDTH} ${height}`);
    const row = svg.selectAll("g").data(bars).join("g").attr("transform", (bar, i) => `translate(0,${i * 18})`);
    const counted = row.append("text").attr("y", 13).text((bar) => number(bar.value));
    const room = WIDTH - ACTOR_WIDTH - 4 * GAP - widest(row);
    const x = d3.scaleLinear([0, d3.max(bars, (bar) => bar.value) || 1], [0, room]);
    row.append("rect").attr("class", "bar").attr("x", ACTOR_WIDTH + 2 * GAP).attr("y", 2).attr("height", 13).attr("width", (bar) => x(bar.value));
    row.append("text").attr("x", ACTOR_WIDTH + GAP).attr("y", 13).attr("text-anchor", "end").text((bar) => bar.name)
      .each(function fit() { shorten(this, ACTOR_WIDTH); }).append("title").text((bar) => bar.name);
    counted.attr("x", (bar) => ACTOR_WIDTH + 3 * GAP + x(bar.value));
    row.filter((bar) => bar.actor).append("rect").attr("class", "hit").attr("width", WIDTH).attr("height", 18)
      .on("click", (event, bar) => { search.value = strings[bar.actor]; drawFound(); });
  };

  // --- The moment ------------------------------------------------------------------------------

  const slider = get("slider");
  let isWaiting = false;
  const remember = () => {
    const parts = [`revision=${revisionOf(moment)}`];
    if (chosen !== null) parts.push(`id=${chosen}`);
    try { history.replaceState(null, "", `#${parts.join("&")}`); } catch { /* not where a file is sandboxed */ }
  };
  const drawMoment = () => {
    isWaiting = false;
    const what = moment ? `${time(moment - 1)} ${who(moment - 1)}` : "before the first batch that is kept";
    get("moment").textContent = `revision ${revisionOf(moment)} · ${what} · ${number(counts[moment])} snapshots, ${bytes(sizes[moment])}`;
    slider.setAttribute("aria-valuetext", `revision ${revisionOf(moment)}`);
    markers.forEach((mark) => mark());
    drawTree();
    drawStory();
    remember();
  };
  const setMoment = (next) => {
    moment = Math.min(batchCount, Math.max(0, next));
    slider.value = moment;
    if (!isWaiting) { isWaiting = true; requestAnimationFrame(drawMoment); }
  };
  slider.max = batchCount;
  slider.value = batchCount;
  slider.addEventListener("input", () => setMoment(Number(slider.value)));
  get("back").addEventListener("click", () => setMoment(moment - 1));
  get("forth").addEventListener("click", () => setMoment(moment + 1));
  addEventListener("beforeprint", () => drawRows(0, PRINTED_ROWS_MAX));
  addEventListener("afterprint", drawVisible);
  addEventListener("resize", drawVisible);

  get("path").textContent = shown(data.path);
  get("about").textContent = `store ${data.store_id}, revision ${data.revision}, history from revision ` +
    `${data.first_revision}; made ${data.made}`;
  chart("counts", counts, d3.format("~s"));
  chart("sizes", sizes, (value) => bytes(value));
  drawActors();
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.has("id")) chosen = Number(asked.get("id"));
  if (asked.has("revision")) moment = Math.min(batchCount, Math.max(0, Number(asked.get("revision")) - data.first_revision + 1 || 0));
  slider.value = moment;
  drawMoment();
  reveal();
  document.documentElement.dataset.ready = "true";
})();
