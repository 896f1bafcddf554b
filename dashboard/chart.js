// chart.js - the uPlot chart of windows per product, and the small rate line.
/* global uPlot */

const HEIGHT = 300;
const SERIES_COLOURS = 8;

/** The resolved colour of a custom property: a canvas cannot read light-dark(). */
function colour(name) {
  const probe = document.getElementById("colour-probe");
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

export const seriesColourName = (index) => `--s${index % SERIES_COLOURS}`;

function axis(extra) {
  return {
    stroke: colour("--muted"),
    font: "12px system-ui, sans-serif",
    ticks: { show: false },
    grid: { stroke: colour("--line"), width: 1 },
    ...extra,
  };
}

// The window still counting is shaded, so that its lower value does not read as a drop.
function shadeOpenWindow(plot, openFrom) {
  if (openFrom === null || openFrom > plot.scales.x.max) return;
  const left = Math.max(plot.valToPos(openFrom, "x", true), plot.bbox.left);
  const right = plot.bbox.left + plot.bbox.width;
  if (right <= left) return;
  plot.ctx.save();
  plot.ctx.fillStyle = colour("--sunk");
  plot.ctx.fillRect(left, plot.bbox.top, right - left, plot.bbox.height);
  plot.ctx.restore();
}

export class WindowChart {
  #host;
  #plot = null;
  #signature = "";
  #openFrom = null;

  constructor(host) {
    this.#host = host;
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(host);
    addEventListener("themechange", () => this.#drop());
  }

  /** columns as Model.columns; series: [{ id, colourIndex, isShown }]; openFrom: start or null. */
  draw(columns, series, { format, openFrom }) {
    this.#openFrom = openFrom;
    const signature = JSON.stringify([series, format.name]);
    if (signature !== this.#signature) this.#drop();
    this.#signature = signature;
    if (this.#plot) this.#plot.setData(columns);
    else this.#plot = new uPlot(this.#options(series, format), columns, this.#host);
  }

  #drop() {
    this.#plot?.destroy();
    this.#plot = null;
    this.#signature = "";
  }

  #size() {
    return { width: Math.max(this.#host.clientWidth, 200), height: HEIGHT };
  }

  #options(series, format) {
    const line = ({ id, colourIndex, isShown }) => {
      const stroke = colour(seriesColourName(colourIndex));
      return { label: id, show: isShown, stroke, width: 2, spanGaps: true, points: { show: true, size: 5, fill: stroke, stroke } };
    };
    return {
      ...this.#size(),
      legend: { show: false },
      cursor: { y: false, points: { size: 9 } },
      padding: [12, 28, 0, 0],
      scales: { x: { range: paddedRange }, y: { range: (_, low, high) => [0, (high || 1) * 1.12] } },
      series: [{}, ...series.map(line)],
      axes: [
        axis({ grid: { show: false }, size: 28, space: 76, values: (_, ticks) => ticks.map(clockLabel) }),
        axis({ size: 64, values: (_, ticks) => ticks.map(format) }),
      ],
      hooks: { drawClear: [(plot) => shadeOpenWindow(plot, this.#openFrom)] },
    };
  }
}

// From the data itself: uPlot stretches a single point to a whole day.
function paddedRange(plot) {
  const starts = plot.data[0];
  if (!starts.length) return [0, 1];
  const [low, high] = [starts[0], starts[starts.length - 1]];
  const pad = Math.max((high - low) * 0.02, 5);
  return [low - pad, high + pad];
}

const clockLabel = (seconds) =>
  new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

/** A line of numbers without axes. */
export function drawSparkline(canvas, values) {
  const scale = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (canvas.width !== width * scale) canvas.width = width * scale;
  if (canvas.height !== height * scale) canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const top = Math.max(...values, 1);
  const x = (i) => (i / (values.length - 1)) * (width - 2) + 1;
  const y = (v) => height - 2 - (v / top) * (height - 4);
  context.beginPath();
  values.forEach((v, i) => context.lineTo(x(i), y(v)));
  context.strokeStyle = colour("--accent");
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.stroke();
  context.lineTo(x(values.length - 1), height);
  context.lineTo(x(0), height);
  context.globalAlpha = 0.12;
  context.fillStyle = colour("--accent");
  context.fill();
  context.globalAlpha = 1;
}
