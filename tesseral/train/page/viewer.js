// A ball-and-stick viewer on a canvas: drag to turn, wheel or pinch to zoom, double click to start over, play a trajectory.
// Input: {symbols, colors, radii, frames: [[x, y, z, ...], ...], cell: 9 numbers or null, notes: [text per frame] or null}.
"use strict";
function showStructure(root, data) {
  const canvas = root.querySelector("canvas"), slider = root.querySelector("input"), button = root.querySelector("button");
  const note = root.querySelector(".note"), context = canvas.getContext("2d"), atoms = data.symbols.length;
  const reset = () => ({ turn: [0.92, 0.14, -0.37, 0.05, 0.89, 0.45, 0.39, -0.43, 0.81], zoom: 1 });
  let view = reset(), frame = 0, playing = null, bonds = [];

  const center = [0, 0, 0];
  for (let i = 0; i < 3 * atoms; i++) center[i % 3] += data.frames[0][i] / atoms;
  let extent = 1.5;
  const reach = (point) => { extent = Math.max(extent, Math.hypot(point[0] - center[0], point[1] - center[1], point[2] - center[2]) + 0.6); };
  for (let i = 0; i < atoms; i++) reach(data.frames[0].slice(3 * i, 3 * i + 3));
  const edges = data.cell ? cellEdges(data.cell) : [];
  if (data.cell) {
    for (let k = 0; k < 3; k++) center[k] = (data.cell[k] + data.cell[3 + k] + data.cell[6 + k]) / 2;
    extent = 1.5;
    edges.forEach((edge) => edge.forEach(reach));
  }

  function cellEdges(cell) {
    const corner = (i, j, k) => [0, 1, 2].map((x) => i * cell[x] + j * cell[3 + x] + k * cell[6 + x]), list = [];
    for (const [a, b] of [[0, 0], [0, 1], [1, 0], [1, 1]])
      list.push([corner(0, a, b), corner(1, a, b)], [corner(a, 0, b), corner(a, 1, b)], [corner(a, b, 0), corner(a, b, 1)]);
    return list;
  }

  function findBonds() {
    const x = data.frames[frame];
    bonds = [];
    if (atoms > 1500) return;
    for (let i = 0; i < atoms; i++) for (let j = 0; j < i; j++) {
      const limit = data.radii[i] + data.radii[j] + 0.3;
      const d = [x[3 * i] - x[3 * j], x[3 * i + 1] - x[3 * j + 1], x[3 * i + 2] - x[3 * j + 2]];
      const hydrogens = data.symbols[i] === "H" && data.symbols[j] === "H" && atoms > 2;
      if (!hydrogens && d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < limit * limit) bonds.push([i, j]);
    }
  }

  const shade = (hex, f) => "rgb(" + [1, 3, 5].map((k) => {
    const c = parseInt(hex.slice(k, k + 2), 16);
    return Math.round(f < 1 ? c * f : c + (255 - c) * (f - 1));
  }).join(",") + ")";

  const balls = {};
  function ball(color) { // drawn once per colour, then copied
    if (balls[color]) return balls[color];
    const image = document.createElement("canvas"), size = 128, c = image.getContext("2d");
    image.width = image.height = size;
    const light = c.createRadialGradient(0.36 * size, 0.32 * size, 2, 0.5 * size, 0.5 * size, 0.5 * size);
    [[0, 1.75], [0.25, 1.25], [0.7, 0.9], [1, 0.5]].forEach(([at, f]) => light.addColorStop(at, shade(color, f)));
    c.fillStyle = light;
    c.beginPath(); c.arc(size / 2, size / 2, size / 2 - 1, 0, 7); c.fill();
    return (balls[color] = image);
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== width * ratio || canvas.height !== height * ratio) { canvas.width = width * ratio; canvas.height = height * ratio; }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const scale = 0.5 * Math.min(width, height) / extent * view.zoom, t = view.turn, far = 4 * extent;
    const project = (p) => {
      const d = [p[0] - center[0], p[1] - center[1], p[2] - center[2]];
      const z = t[6] * d[0] + t[7] * d[1] + t[8] * d[2], near = far / (far - z);
      return [width / 2 + scale * near * (t[0] * d[0] + t[1] * d[1] + t[2] * d[2]),
              height / 2 - scale * near * (t[3] * d[0] + t[4] * d[1] + t[5] * d[2]), z, scale * near];
    };
    const x = data.frames[frame], points = [], things = [];
    for (let i = 0; i < atoms; i++) {
      points.push(project([x[3 * i], x[3 * i + 1], x[3 * i + 2]]));
      things.push([points[i][2], () => {
        const [px, py, , s] = points[i], r = s * (0.18 + 0.32 * data.radii[i]);
        context.drawImage(ball(data.colors[i]), px - r, py - r, 2 * r, 2 * r);
      }]);
    }
    const stick = (a, b, color) => () => {
      context.lineCap = "butt";
      for (const [f, w] of [[0.62, 0.2], [0.95, 0.14], [1.35, 0.05]]) {
        context.strokeStyle = shade(color, f); context.lineWidth = w * a[3];
        context.beginPath(); context.moveTo(a[0], a[1]); context.lineTo(b[0], b[1]); context.stroke();
      }
    };
    for (const [i, j] of bonds) {
      const a = points[i], b = points[j], middle = a.map((v, k) => (v + b[k]) / 2);
      things.push([(3 * a[2] + b[2]) / 4 - 0.05, stick(a, middle, data.colors[i])], [(a[2] + 3 * b[2]) / 4 - 0.05, stick(b, middle, data.colors[j])]);
    }
    for (const [from, to] of edges) {
      const a = project(from), b = project(to);
      things.push([Math.min(a[2], b[2]), () => {
        context.strokeStyle = "rgba(128,128,128,.55)"; context.lineWidth = 1;
        context.beginPath(); context.moveTo(a[0], a[1]); context.lineTo(b[0], b[1]); context.stroke();
      }]);
    }
    things.sort((a, b) => a[0] - b[0]).forEach((thing) => thing[1]());
    if (note) note.textContent = (data.notes && data.notes[frame]) || (data.frames.length > 1 ? `frame ${frame + 1} of ${data.frames.length}` : "");
  }

  function rotate(dx, dy) { // about the axes of the screen
    const a = dx * 0.01, b = dy * 0.01, t = view.turn, c = Math.cos(a), s = Math.sin(a), d = Math.cos(b), e = Math.sin(b), out = [];
    for (let k = 0; k < 3; k++) {
      const x = c * t[k] + s * t[6 + k], z = -s * t[k] + c * t[6 + k];
      out[k] = x; out[3 + k] = d * t[3 + k] - e * z; out[6 + k] = e * t[3 + k] + d * z;
    }
    view.turn = out;
  }

  const fingers = new Map();
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); fingers.set(event.pointerId, event); });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1], span = (e) => Math.hypot(e.clientX - other.clientX, e.clientY - other.clientY);
      view.zoom *= span(event) / Math.max(1, span(before));
    } else rotate(event.clientX - before.clientX, event.clientY - before.clientY);
    fingers.set(event.pointerId, event);
    draw();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); view.zoom *= Math.exp(-0.001 * event.deltaY); draw(); }, { passive: false });
  canvas.addEventListener("dblclick", () => { view = reset(); draw(); });

  function go(to) { frame = to; slider.value = to; findBonds(); draw(); }
  function play(on) {
    clearInterval(playing);
    playing = on ? setInterval(() => go((frame + 1) % data.frames.length), 60) : null;
    button.textContent = on ? "❚❚" : "▶";
    button.setAttribute("aria-label", on ? "pause" : "play");
  }
  root.querySelector(".controls").hidden = data.frames.length < 2;
  slider.max = data.frames.length - 1;
  slider.addEventListener("input", () => { play(false); go(Number(slider.value)); });
  button.addEventListener("click", () => play(!playing));
  new ResizeObserver(draw).observe(canvas);
  go(0);
}
document.querySelectorAll(".structure").forEach((root) => showStructure(root, JSON.parse(root.querySelector("script").textContent)));
