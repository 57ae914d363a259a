"use strict";
// The interactive report: one table and all figures show the same trials. It asks nobody for
// anything, and without it the page reads as the static one does.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const make = (name, values, words) => {
    const found = document.createElementNS(SVG, name);
    for (const key in values) found.setAttribute(key, values[key]);
    if (words !== undefined) found.textContent = words;
    return found;
  };
  const html = (name, values, words) => {
    const found = document.createElement(name);
    Object.assign(found, values);
    if (words !== undefined) found.textContent = words;
    return found;
  };

  // --- which trials are shown -------------------------------------------------------------------
  const marks = new Map(); // trial -> its lines, dots and bars
  for (const mark of document.querySelectorAll("svg.jr .line, svg.jr .dot, svg.jr .bar")) {
    const title = mark.querySelector("title");
    const named = title && /^trial (\d+) /.exec(title.textContent);
    if (!named) continue;
    if (!marks.has(named[1])) marks.set(named[1], []);
    marks.get(named[1]).push(mark);
  }
  const table = document.querySelector("table.trials");
  const rows = table ? [...table.tBodies[0].rows] : [];
  const rowOf = new Map(rows.map((row) => [row.cells[0].textContent, row]));
  const words = html("input", { type: "search", placeholder: "pruned n_heads…" });
  const state = html("select");
  const count = html("output");
  const brushes = new Map(); // axis -> [its place, from, to]

  const brushed = (trial) => {
    for (const [axis, [, low, high]] of brushes) {
      const line = (marks.get(trial) || []).find((mark) => mark.ownerSVGElement === axis.figure);
      const point = line && points(line).find(([x]) => Math.abs(x - axis.x) < 0.6);
      if (!point || point[1] < low || point[1] > high) return false;
    }
    return true;
  };
  const update = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const active = wanted.length > 0 || state.value !== "" || brushes.size > 0;
    let shown = 0;
    for (const trial of new Set([...rowOf.keys(), ...marks.keys()])) {
      const row = rowOf.get(trial);
      const text = row ? row.textContent.toLowerCase() : "";
      const ended = row ? row.cells[2].textContent : "";
      const fits = wanted.every((word) => text.includes(word)) && ended.startsWith(state.value);
      const keep = !active || (fits && brushed(trial));
      if (row) row.hidden = !keep;
      if (row && keep) shown += 1;
      for (const mark of marks.get(trial) || []) mark.classList.toggle("off", !keep);
    }
    count.textContent = active ? `${shown} of ${rows.length} trials` : `${rows.length} trials`;
  };

  // --- the table --------------------------------------------------------------------------------
  const number = (text) => {
    const time = /^(?:(\d+) h )?(?:(\d+) min )?(?:(\d+) s)?$/.exec(text);
    if (text && time) return 3600 * (time[1] || 0) + 60 * (time[2] || 0) + 1 * (time[3] || 0);
    const hours = /^(\d+) h (\d+) min$/.exec(text);
    if (hours) return 3600 * hours[1] + 60 * hours[2];
    return text === "" ? NaN : Number(text);
  };
  const sort = (column, head) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[column].textContent;
    const absent = (text) => text === "" || text === "–";
    const ordered = [...rows].sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      if (absent(a) || absent(b)) return absent(a) - absent(b);
      const [x, y] = [number(a), number(b)];
      const less = isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
      return down ? -less : less;
    });
    table.tBodies[0].append(...ordered);
  };
  if (table) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = html("button", { type: "button" }, head.textContent);
      head.replaceChildren(button);
      button.addEventListener("click", () => sort(column, head));
    });
    const states = new Set(rows.map((row) => row.cells[2].textContent.split(" ")[0]));
    state.append(html("option", { value: "" }, "all"));
    for (const one of states) state.append(html("option", { value: one }, one));
    const clear = html("button", { type: "button" }, "Show all");
    const bar = html("div", { className: "filter screen" });
    const labelled = (text, field) => {
      const label = html("label", {}, text);
      label.append(field);
      return label;
    };
    bar.append(labelled("Filter ", words), labelled("Ended ", state), clear, count);
    table.closest(".scroll").before(bar);
    words.addEventListener("input", update);
    state.addEventListener("change", update);
    clear.addEventListener("click", () => {
      words.value = state.value = "";
      for (const axis of [...brushes.keys()]) axis.drop();
      update();
    });
    for (const [trial, row] of rowOf) {
      const light = (on) => () => {
        for (const mark of marks.get(trial) || []) mark.classList.toggle("lit", on);
      };
      row.addEventListener("pointerenter", light(true));
      row.addEventListener("pointerleave", light(false));
    }
  }

  // --- places in a figure -----------------------------------------------------------------------
  const at = (figure, event) => {
    const place = new DOMPoint(event.clientX, event.clientY);
    return place.matrixTransform(figure.getScreenCTM().inverse());
  };
  const points = (line) => {
    const found = [];
    for (const [, x, y] of (line.getAttribute("d") || "").matchAll(/[ML]([\d.-]+) ([\d.-]+)/g))
      found.push([Number(x), Number(y)]);
    return found;
  };
  const drag = (target, figure, start, move, end) => {
    target.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !start(at(figure, event), event)) return;
      event.preventDefault();
      target.setPointerCapture(event.pointerId);
      const moved = (more) => move(at(figure, more));
      const ended = (more) => {
        target.removeEventListener("pointermove", moved);
        target.removeEventListener("pointerup", ended);
        target.removeEventListener("pointercancel", ended);
        end(at(figure, more));
      };
      target.addEventListener("pointermove", moved);
      target.addEventListener("pointerup", ended);
      target.addEventListener("pointercancel", ended);
    });
  };
  const span = (rect, axis, from, to) => {
    rect.setAttribute(axis, Math.min(from, to));
    rect.setAttribute(axis === "x" ? "width" : "height", Math.abs(to - from));
  };

  // --- brushes on parallel coordinates ----------------------------------------------------------
  for (const figure of document.querySelectorAll("svg.jr[data-axes]")) {
    const [top, bottom] = figure.dataset.span.split(" ").map(Number);
    for (const x of figure.dataset.axes.split(" ").map(Number)) {
      const brush = make("rect", { class: "brush", x: x - 9, width: 18, y: top, height: 0 });
      const hit = make("rect", {
        class: "hit", x: x - 15, width: 30, y: top - 6, height: bottom - top + 12,
      });
      hit.append(make("title", {}, "Drag to keep the trials of a range; click to drop it."));
      const axis = { figure, x, drop: () => (brushes.delete(axis), brush.setAttribute("height", 0)) };
      const within = (place) => Math.min(bottom, Math.max(top, place.y));
      let from = 0;
      figure.append(brush, hit);
      drag(
        hit, figure,
        (place) => ((from = within(place)), true),
        (place) => {
          span(brush, "y", from, within(place));
          brushes.set(axis, [x, Math.min(from, within(place)), Math.max(from, within(place))]);
          update();
        },
        (place) => {
          if (Math.abs(within(place) - from) < 3) axis.drop();
          update();
        },
      );
    }
  }

  // --- zoom -------------------------------------------------------------------------------------
  const shown = (value) => {
    const size = Math.abs(value);
    if (size >= 1e5 || (size > 0 && size < 1e-3)) return value.toExponential().replace("e+", "e");
    return String(Number(value.toPrecision(6)));
  };
  const ticks = (low, high, log) => {
    const found = [];
    if (log) {
      for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1)
        for (const m of [1, 2, 5]) found.push(Number(`${m}e${e}`));
      const inside = found.filter((value) => value >= low && value <= high);
      const every = Math.max(1, Math.ceil(inside.length / 6));
      if (inside.length > 2) return inside.filter((_, i) => i % every === 0);
      found.length = 0;
    }
    const power = 10 ** Math.floor(Math.log10((high - low) / 5));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= (high - low) / 5);
    for (let i = Math.ceil(low / step); i * step <= high; i += 1)
      found.push(Number((i * step).toPrecision(12)));
    return found;
  };
  let clips = 0;
  for (const figure of document.querySelectorAll("svg.jr[data-box]")) {
    const [left, top, right, bottom] = figure.dataset.box.split(" ").map(Number);
    const scales = ["x", "y"].map((axis) => {
      const [low, high, log] = figure.dataset[axis].split(" ");
      return { low: Number(low), high: Number(high), log: log === "log", fixed: low === "names" };
    });
    const inner = figure.querySelector(".marks");
    const whole = [[0, 1], [0, 1]];
    let view = whole;
    const first = new Map();
    const value = (scale, p) =>
      scale.log
        ? scale.low * (scale.high / scale.low) ** p
        : scale.low + p * (scale.high - scale.low);
    const px = (x) => left + (((x - left) / (right - left) - view[0][0]) / (view[0][1] - view[0][0])) * (right - left);
    const py = (y) => bottom - (((bottom - y) / (bottom - top) - view[1][0]) / (view[1][1] - view[1][0])) * (bottom - top);
    const places = { x: px, x1: px, x2: px, cx: px, y: py, y1: py, y2: py, cy: py };
    const moved = (path) =>
      path.replace(/([MLHV])([\d.-]+)(?: ([\d.-]+))?/g, (all, kind, a, b) =>
        kind === "H" ? `H${px(Number(a)).toFixed(1)}`
        : kind === "V" ? `V${py(Number(a)).toFixed(1)}`
        : `${kind}${px(Number(a)).toFixed(1)} ${py(Number(b)).toFixed(1)}`);
    const axis = (group, i) => {
      if (scales[i].fixed) return;
      const [low, high] = view[i].map((p) => value(scales[i], p));
      group.replaceChildren();
      for (const tick of ticks(low, high, scales[i].log)) {
        const { low: a, high: b, log } = scales[i];
        const p = log ? Math.log(tick / a) / Math.log(b / a) : (tick - a) / (b - a);
        const q = (p - view[i][0]) / (view[i][1] - view[i][0]);
        const x = left + q * (right - left), y = bottom - q * (bottom - top);
        const line = i ? { x1: left, x2: right, y1: y, y2: y } : { x1: x, x2: x, y1: top, y2: bottom };
        const where = i ? { class: "dim r", x: left - 5, y: y + 4 } : { class: "dim c", x, y: bottom + 14 };
        group.append(make("line", { class: "grid", ...line }), make("text", where, shown(tick)));
      }
    };
    const clip = `clip-${(clips += 1)}`;
    const outline = make("clipPath", { id: clip });
    outline.append(make("rect", { x: left, y: top - 6, width: right - left, height: bottom - top + 6 }));
    const area = make("rect", { class: "zoom", width: 0, height: 0, x: 0, y: 0 });
    figure.append(outline, area);
    const reset = html("button", { type: "button", className: "reset screen", hidden: true }, "Whole range");
    figure.parentNode.querySelector("figcaption").append(reset);
    const draw = () => {
      for (const mark of inner.querySelectorAll("*")) {
        if (!first.has(mark)) {
          const was = {};
          for (const key of mark.getAttributeNames()) was[key] = mark.getAttribute(key);
          first.set(mark, was);
        }
        const was = first.get(mark);
        for (const key in places) if (key in was) mark.setAttribute(key, places[key](Number(was[key])).toFixed(1));
        if ("d" in was) mark.setAttribute("d", moved(was.d));
        if (mark.tagName === "rect") {
          const x = px(Number(was.x)), y = py(Number(was.y));
          mark.setAttribute("width", Math.max(0, px(Number(was.x) + Number(was.width)) - x).toFixed(1));
          mark.setAttribute("height", Math.max(0, py(Number(was.y) + Number(was.height)) - y).toFixed(1));
        }
      }
      axis(figure.querySelector(".ticks-x"), 0);
      axis(figure.querySelector(".ticks-y"), 1);
      reset.hidden = view === whole;
      if (reset.hidden) inner.removeAttribute("clip-path");
      else inner.setAttribute("clip-path", `url(#${clip})`);
    };
    const zoom = (i, from, to) => {
      const [a, b] = view[i], [low, high] = [Math.min(from, to), Math.max(from, to)];
      return scales[i].fixed ? view[i] : [a + low * (b - a), a + high * (b - a)];
    };
    const within = (place) => ({
      x: Math.min(right, Math.max(left, place.x)), y: Math.min(bottom, Math.max(top, place.y)),
    });
    let from = null;
    figure.classList.add("zooms");
    drag(
      figure, figure,
      (place, event) => {
        const inside = place.x >= left && place.x <= right && place.y >= top && place.y <= bottom;
        // A finger scrolls the page; it has the browser's own zoom.
        if (!inside || event.pointerType !== "mouse") return false;
        from = within(place);
        return true;
      },
      (place) => {
        const to = within(place);
        span(area, "x", from.x, scales[0].fixed ? right : to.x);
        span(area, "y", from.y, scales[1].fixed ? top : to.y);
      },
      (place) => {
        const to = within(place);
        area.setAttribute("width", 0);
        if (Math.abs(to.x - from.x) < 6 && Math.abs(to.y - from.y) < 6) return;
        const across = (x) => (x - left) / (right - left), up = (y) => (bottom - y) / (bottom - top);
        // A drag along one axis keeps the other one as it is.
        const x = Math.abs(to.x - from.x) < 6 ? view[0] : zoom(0, across(from.x), across(to.x));
        const y = Math.abs(to.y - from.y) < 6 ? view[1] : zoom(1, up(from.y), up(to.y));
        view = [x, y];
        draw();
      },
    );
    const back = () => ((view = whole), draw());
    reset.addEventListener("click", back);
    figure.addEventListener("dblclick", back);
  }
  update();
})();
