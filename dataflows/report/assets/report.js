// Draws an asset's timeline when it is opened, as fine as the screen, with cursor and zoom. The page is complete
// without it. Numbers are float32 in base64: of each series the smallest value of each interval, then the largest.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const LEFT = 6, EVENTS = 24, SCORE = 90, SENSOR = 46, FOOT = 18;
  const svg = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const shown = (value) =>
    Number.isFinite(value) ? String(Number(value.toPrecision(3))).replace("-", "\u2212") : "none";
  const when = (time) => new Date(time).toISOString().slice(0, 16).replace("T", " ");
  const numbers = (place) => {
    const bytes = Uint8Array.from(atob(document.getElementById(`numbers-${place}`).textContent), (c) => c.charCodeAt(0));
    return new Float32Array(bytes.buffer);
  };

  class Timeline {
    constructor(figure) {
      this.figure = figure;
      this.plot = figure.querySelector(".plot");
      this.label = this.plot.firstElementChild.getAttribute("aria-label");
      this.place = Number(figure.dataset.asset);
      this.asset = data.assets[this.place];
      const all = numbers(this.place), n = data.count;
      this.series = this.asset.series.map((series, i) => {
        const low = all.subarray(2 * i * n, (2 * i + 1) * n), high = all.subarray((2 * i + 1) * n, (2 * i + 2) * n);
        let least = Infinity, most = -Infinity;
        for (let k = 0; k < n; k++) {
          if (low[k] < least) least = low[k];
          if (high[k] > most) most = high[k];
        }
        return { ...series, low, high, least: series.score ? 0 : least, most: series.score ? 1 : most };
      });
      this.first = 0; // the part that is shown, in intervals
      this.last = n;
      this.at = null; // interval under the cursor
      this.controls();
      this.draw();
      this.listen();
    }

    controls() {
      const tools = document.createElement("div");
      tools.className = "tools";
      const button = (text, action) => {
        const made = document.createElement("button");
        made.type = "button";
        made.textContent = text;
        made.addEventListener("click", action);
        tools.append(made);
      };
      button("Zoom in", () => this.zoom(0.5));
      button("Zoom out", () => this.zoom(2));
      button("\u2190 Earlier", () => this.pan(-0.5));
      button("Later \u2192", () => this.pan(0.5));
      button("All", () => this.show(0, data.count));
      this.output = document.createElement("output");
      this.output.setAttribute("aria-live", "polite");
      this.output.textContent = "Point at it, or focus it and use the arrow keys, +, \u2212 and 0; drag to zoom.";
      tools.append(this.output);
      this.figure.append(tools);
      this.plot.tabIndex = 0;
      this.plot.setAttribute("role", "group");
      this.plot.setAttribute("aria-label", "Timeline, with arrow keys");
    }

    time(interval) {
      return data.start + ((data.end - data.start) * interval) / data.count;
    }

    across(interval) {
      return LEFT + ((interval - this.first) / (this.last - this.first)) * this.width;
    }

    interval(time) {
      return ((time - data.start) / (data.end - data.start)) * data.count;
    }

    path(series, top, height) {
      const count = this.last - this.first, columns = Math.min(Math.floor(this.width), count);
      const range = series.most - series.least || 1;
      const y = (value) => (top + height * (1 - (value - series.least) / range)).toFixed(1);
      let path = "", before = -Infinity;
      for (let column = 0; column < columns; column++) {
        const from = this.first + Math.floor((column * count) / columns);
        const to = Math.max(from + 1, this.first + Math.floor(((column + 1) * count) / columns));
        let low = Infinity, high = -Infinity;
        for (let k = from; k < to; k++) {
          if (series.low[k] < low) low = series.low[k];
          if (series.high[k] > high) high = series.high[k];
        }
        if (low > high) continue;
        const x = this.across((from + to) / 2).toFixed(1);
        const gap = Math.max(2, columns / 60);
        path += `${column - before <= gap ? "L" : "M"}${x} ${y(low)}${low === high ? "h.5" : `V${y(high)}`}`;
        before = column;
      }
      return path;
    }

    draw(wide) {
      const scores = this.series.filter((series) => series.score), sensors = this.series.filter((series) => !series.score);
      const box = wide || this.plot.clientWidth || 640, height = EVENTS + SCORE + SENSOR * sensors.length + FOOT;
      this.width = box - 2 * LEFT;
      this.height = height;
      const root = svg("svg", { class: "chart live", viewBox: `0 0 ${box} ${height}`, role: "img", "aria-label": this.label });
      root.style.maxWidth = "none";
      const clip = `clip-${this.place}`;
      root.append(svg("clipPath", { id: clip }));
      root.firstChild.append(svg("rect", { x: LEFT - 5, y: 0, width: this.width + 10, height }));
      const inside = svg("g", { "clip-path": `url(#${clip})` });
      for (const [from, to] of this.asset.late) {
        const x = this.across(from);
        inside.append(svg("rect", { class: "late", x, y: EVENTS, width: Math.max(1.5, this.across(to) - x), height: height - EVENTS - FOOT }));
      }
      const limit = EVENTS + SCORE * (1 - this.asset.limit);
      inside.append(svg("path", { class: "limit", d: `M${LEFT} ${limit}h${this.width}` }));
      scores.forEach((series, i) => {
        const line = svg("g", { class: `line s${i % 8}` });
        line.append(svg("path", { d: this.path(series, EVENTS, SCORE) }));
        inside.append(line);
      });
      root.append(svg("text", { x: LEFT, y: EVENTS + 10, class: "name" }, "score"));
      root.append(svg("text", { x: box - LEFT, y: limit - 3, "text-anchor": "end" }, `${Number((100 * this.asset.limit).toPrecision(3))}\u00a0%`));
      sensors.forEach((series, i) => {
        const top = EVENTS + SCORE + i * SENSOR, line = svg("g", { class: "line reading" });
        line.append(svg("path", { d: this.path(series, top + 14, SENSOR - 18) }));
        inside.append(line);
        const unit = series.unit ? ` in ${series.unit}` : "";
        root.append(svg("text", { x: LEFT, y: top + 10, class: "name" }, `${series.name}${unit}, ${shown(series.least)} to ${shown(series.most)}`));
      });
      for (const [from, to, outcome] of this.asset.alerts) {
        const x = this.across(this.interval(from)), width = Math.max(2, this.across(this.interval(to)) - x);
        inside.append(svg("rect", { class: `alert ${outcome}`, x, y: 8, width, height: 9, rx: 2 }));
      }
      for (const time of this.asset.failures) {
        const x = this.across(this.interval(time));
        inside.append(svg("path", { class: "failure", d: `M${x} ${EVENTS}V${height - FOOT}M${x - 4} 4l8 8m0 -8l-8 8` }));
      }
      root.append(inside);
      root.append(svg("text", { x: LEFT, y: height - 3 }, when(this.time(this.first)).slice(0, 10)));
      root.append(svg("text", { x: box - LEFT, y: height - 3, "text-anchor": "end" }, when(this.time(this.last)).slice(0, 10)));
      this.cursor = svg("path", { class: "cursor" });
      this.pick = svg("rect", { class: "pick", y: EVENTS, height: height - EVENTS - FOOT, width: 0 });
      root.append(this.pick, this.cursor);
      this.plot.replaceChildren(root);
      if (this.at !== null) this.point(this.at);
    }

    point(interval) {
      this.at = Math.min(Math.max(Math.floor(interval), this.first), this.last - 1);
      const x = this.across(this.at + 0.5);
      this.cursor.setAttribute("d", `M${x} ${EVENTS}V${this.height - FOOT}`);
      const parts = [when(this.time(this.at))];
      for (const series of this.series) {
        const low = series.low[this.at], high = series.high[this.at];
        const value = Math.abs(high - low) > 0.005 * (series.most - series.least) ? `${shown(low)} to ${shown(high)}` : shown(high);
        if (Number.isFinite(high)) parts.push(`${series.name} ${value}${series.unit ? ` ${series.unit}` : ""}`);
      }
      this.output.textContent = parts.join(" \u00b7 ");
    }

    show(first, last) {
      const size = Math.min(data.count, Math.max(8, Math.round(last - first)));
      this.first = Math.min(Math.max(0, Math.round(first)), data.count - size);
      this.last = this.first + size;
      this.draw();
    }

    zoom(factor) {
      const middle = this.at ?? (this.first + this.last) / 2, half = ((this.last - this.first) * factor) / 2;
      this.show(middle - half, middle + half);
    }

    pan(share) {
      const step = (this.last - this.first) * share;
      this.show(this.first + step, this.last + step);
    }

    listen() {
      const under = (event) => {
        const box = this.plot.getBoundingClientRect();
        return this.first + ((event.clientX - box.left - LEFT) / this.width) * (this.last - this.first);
      };
      let from = null;
      this.plot.addEventListener("pointerdown", (event) => {
        if (event.pointerType === "mouse") from = under(event);
      });
      this.plot.addEventListener("pointermove", (event) => {
        const to = under(event);
        this.point(to);
        if (from === null) return;
        this.pick.setAttribute("x", Math.min(this.across(from), this.across(to)));
        this.pick.setAttribute("width", Math.abs(this.across(to) - this.across(from)));
      });
      this.plot.addEventListener("pointerup", (event) => {
        const to = under(event);
        if (from !== null && Math.abs(to - from) > 4) this.show(Math.min(from, to), Math.max(from, to));
        from = null;
      });
      this.plot.addEventListener("pointerleave", () => (from = null));
      this.plot.addEventListener("dblclick", () => this.show(0, data.count));
      this.plot.addEventListener("keydown", (event) => {
        const middle = this.at ?? Math.floor((this.first + this.last) / 2), step = Math.max(1, Math.round((this.last - this.first) / 100));
        const keys = {
          ArrowLeft: () => (event.shiftKey ? this.pan(-0.25) : this.point(middle - step)),
          ArrowRight: () => (event.shiftKey ? this.pan(0.25) : this.point(middle + step)),
          "+": () => this.zoom(0.5),
          "-": () => this.zoom(2),
          0: () => this.show(0, data.count),
        };
        if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        keys[event.key]();
      });
    }
  }

  const drawn = new Map();
  const open = (details) => {
    const figure = details.open && details.querySelector(".timeline");
    if (figure && !drawn.has(figure)) drawn.set(figure, new Timeline(figure));
  };
  const assets = [...document.querySelectorAll("details.asset")];
  for (const details of assets) details.addEventListener("toggle", () => open(details));
  // On a busy machine no idle moment may come.
  (window.requestIdleCallback || setTimeout)(() => assets.forEach(open), { timeout: 300 });
  let waiting;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => drawn.forEach((timeline) => timeline.plot.clientWidth && timeline.draw()), 150);
  });
  window.addEventListener("beforeprint", () => drawn.forEach((timeline) => timeline.draw(640)));
  window.addEventListener("afterprint", () => drawn.forEach((timeline) => timeline.draw()));
  if (assets.length > 8) {
    const label = document.createElement("label"), field = document.createElement("input");
    label.textContent = "Find an asset: ";
    field.type = "search";
    field.addEventListener("input", () => {
      const wanted = field.value.toLowerCase();
      for (const details of assets) details.hidden = !details.querySelector(".name").textContent.toLowerCase().includes(wanted);
    });
    label.append(field);
    document.getElementById("how").after(label);
  }
})();
