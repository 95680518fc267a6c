// Which panels there are: one for each chosen AU, the heat map, and the quality.
const HEAT_ROW = 17;

function drawEvents(au) {
  return (u) => {
    const { ctx, bbox } = u, ratio = devicePixelRatio;
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    const bar = (from, to, height, name) => {
      const x = u.valToPos(from, "x", true);
      ctx.fillStyle = colour(name);
      ctx.fillRect(x, bbox.top + bbox.height - height, Math.max(ratio, u.valToPos(to, "x", true) - x), height);
    };
    for (const [from, to, code] of runs(view.person.present[au] || [])) {
      if (code && timeOf(to) > view.min && timeOf(from) < view.max) bar(timeOf(from), timeOf(to), 4 * ratio, "accent");
    }
    for (const [track, name, onset, apex, offset] of D.events || []) {
      if (!isOf(track, view.person) || name !== au || offset < view.min || onset > view.max) continue;
      bar(onset, offset, bbox.height, "event");
      if (apex == null) continue;
      const x = u.valToPos(apex, "x", true), size = 4 * ratio;
      ctx.fillStyle = colour("ink");
      ctx.beginPath();
      ctx.moveTo(x - size, bbox.top);
      ctx.lineTo(x + size, bbox.top);
      ctx.lineTo(x, bbox.top + 1.6 * size);
      ctx.fill();
    }
  };
}

function addCurve(host, column, about, more) {
  const c = curve(view.person, column);
  return addPanel({ host, curve: c, data: plotted(c), digits: about.digits, ticks: about.ticks, range: about.range && (() => about.range), ...more });
}

function mixed(fraction) { // a colour of the heat map, 0..1
  const stops = colour("ramp").split(/\s+/).map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const at = Math.min(1, Math.max(0, fraction)) * (stops.length - 1), k = Math.min(stops.length - 2, Math.floor(at));
  return `rgb(${stops[k].map((a, i) => Math.round(a + (stops[k + 1][i] - a) * (at - k)))})`;
}

function drawHeat(aus, limits) {
  return (u) => {
    const { ctx, bbox } = u, columns = Math.round(bbox.width), height = bbox.height / aus.length;
    const palette = Array.from({ length: 65 }, (_, i) => mixed(i / 64));
    aus.forEach((au, row) => {
      const c = curve(view.person, `${au}_${view.measure}`), best = new Float32Array(columns).fill(NaN);
      const column = (t) => Math.round(((t - view.min) / (view.max - view.min)) * columns);
      const first = Math.max(0, lastAtMost(c.k, frameAt(view.min)));
      for (let i = first; i < c.k.length && T[c.k[i]] <= view.max; i++) {
        const joined = i + 1 < c.k.length && !c.gap[i + 1];
        const end = joined ? T[c.k[i + 1]] : timeOf(c.k[i] + 1);
        const from = Math.max(0, column(T[c.k[i]])), to = Math.min(columns, Math.max(from + 1, column(end)));
        for (let x = from; x < to; x++) if (!(best[x] >= c.v[i])) best[x] = c.v[i];
      }
      const top = bbox.top + row * height;
      ctx.globalAlpha = CHECKED.has(au) ? 1 : 0.55;
      for (let x = 0; x < columns; ) {
        const level = Math.round(((best[x] - limits[0]) / (limits[1] - limits[0])) * 64);
        let end = x + 1;
        while (end < columns && (Number.isNaN(level) ? Number.isNaN(best[end]) : Math.round(((best[end] - limits[0]) / (limits[1] - limits[0])) * 64) === level)) end++;
        if (!Number.isNaN(level)) {
          ctx.fillStyle = palette[Math.min(64, Math.max(0, level))];
          ctx.fillRect(bbox.left + x, top + 1, end - x, height - 2);
        }
        x = end;
      }
      ctx.globalAlpha = 1;
      ctx.fillStyle = colour(CHECKED.has(au) ? "ink" : "soft");
      ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
      ctx.textAlign = "right";
      ctx.textBaseline = "middle";
      ctx.fillText(au, bbox.left - 6 * devicePixelRatio, top + height / 2);
    });
  };
}

function addHeat(host) {
  const aus = heatAus(), about = MEASURE[view.measure], limits = view.measure === "d" ? [-3, 3] : view.measure === "p" ? [0, 1] : [0, 5];
  const row = (event, u) => aus[Math.min(aus.length - 1, Math.max(0, Math.floor(((event.clientY - u.over.getBoundingClientRect().top) / u.over.clientHeight) * aus.length)))];
  const o = addPanel({
    host, name: about.name, rows: true, axis: true,
    height: aus.length * HEAT_ROW + 8, data: [[START, END], [null, null]], range: () => [0, 1], ticks: [], over: drawHeat(aus, limits),
    tip: (event) => {
      const au = row(event, o.plot);
      return `${au} ${D.aus[au].title}: ${number(valueAt(curve(view.person, `${au}_${view.measure}`), view.hover), 2)}`;
    },
  });
  o.readout.replaceChildren(el("span", { class: "ramp" }, number(limits[0], 0), el("i", {}), number(limits[1], 0)));
  o.readout.querySelector("i").style.background = `linear-gradient(90deg, ${[0, 0.25, 0.5, 0.75, 1].map(mixed).join(",")})`;
}

function buildPanels() {
  for (const o of panels) o.plot.destroy();
  panels = [];
  for (const id of ["lanes", "heat", "quality"]) $(id).replaceChildren();
  if (!view.person) return;
  const aus = shownAus(), about = MEASURE[view.measure];
  $("lanes-title").textContent = `${about.name}${view.measure === "i" ? " (0 to 5)" : ""} of the chosen action units`;
  $("no-aus").hidden = aus.length > 0;
  aus.forEach((au, i) => {
    const pale = !CHECKED.has(au);
    const name = el("span", {}, el("b", {}, au), " " + D.aus[au].title, pale ? el("em", {}, D.aus[au].checked === "real" ? "not reliable" : "not checked") : "");
    addCurve($("lanes"), `${au}_${view.measure}`, about, {
      name, short: au, pale, axis: i === aus.length - 1, height: 76,
      stroke: colour(pale ? "pale" : "accent"), fill: pale ? undefined : colour("fill"), under: drawEvents(au),
    });
  });
  if (heatAus().length) addHeat($("heat"));
  D.quality.forEach((column, i) => {
    const quality = QUALITY[column];
    addCurve($("quality"), column, quality, {
      name: quality.name, short: quality.name.split(" (")[0], axis: i === D.quality.length - 1, height: 58, stroke: colour("soft"),
    });
  });
  placeLines();
  writeValues();
}
