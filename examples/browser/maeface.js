// Finds a face and computes its action units (AUs: single movements of the face, such as "lips part"), with the
// networks that `maeface export` writes. preprocessing.json beside them has all constants and says in words what
// is done here.
//
// An image is {width, height, data}, with red, green and blue of each pixel in data. A square is
// {x, y, side, angle}: its centre and side in pixels of an image, and how far it is turned clockwise, in radians.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";

/** Load the networks of a folder; `threads` of the processor compute, as many as the page may have if 0. */
export async function load(folder, threads = 0) {
  ort.env.wasm.numThreads = threads;
  const answer = await fetch(`${folder}/preprocessing.json`);
  if (!answer.ok) throw new Error(`${folder}/preprocessing.json cannot be read (${answer.status})`);
  const facts = await answer.json();
  if (!facts.au.prepares_pixels) throw new Error("the networks were exported without --with-preprocessing");
  if (!facts.au.columns[0].endsWith("_p")) throw new Error("the weights give intensities only, no probabilities");
  const networks = { facts };
  for (const [name, { file }] of Object.entries(facts.files)) {
    const session = await ort.InferenceSession.create(`${folder}/${file}`);
    networks[name] = async ({ width, height, data }) => {
      const pixels = new ort.Tensor("uint8", data, [1, height, width, 3]);
      const outputs = await session.run({ [session.inputNames[0]]: pixels });
      return outputs[session.outputNames[0]].data;
    };
  }
  return networks;
}

/** Return what a canvas shows as an image. */
export function readPixels(canvas) {
  const { width, height } = canvas, data = new Uint8Array(width * height * 3);
  const rgba = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  for (let from = 0, to = 0; to < data.length; from++) {
    if (from % 4 < 3) data[to++] = rgba[from]; // every fourth value is the opacity
  }
  return { width, height, data };
}

/**
 * Return the largest face of an image, or null: {box: [left, top, right, bottom], points, score, square}.
 * The points are eyes, nose and corners of the mouth. The square is what `readFace` looks at.
 * With the face of the frame before, look near it first, which is much faster than to search.
 */
export async function findFace(networks, image, before = null) {
  return before && await follow(networks, image, before) || search(networks, image);
}

/**
 * Return the AUs of a face: their names, probabilities, whether they were found reliable on real people
 * (`trusted`), and the `advice` of the weights ("yes", "with care" or "no"). Less is computed with a smaller
 * `px`, the side of the crop.
 */
export async function readFace(networks, image, face, px = networks.facts.crop.photo_px) {
  const { aus, columns } = networks.facts.au;
  const values = await networks.au(crop(image, face.square, px));
  return aus.map(({ name, facs, threshold, trust }) => {
    const probability = values[columns.indexOf(`${name}_p`)];
    const present = probability >= threshold;
    return { name, title: facs.slice(name.length + 1), probability, present, trusted: trust?.use === true, advice: trust?.advice };
  });
}

/** Search the whole image, at sizes that halve; each is good for faces of some sizes. */
async function search(networks, image) {
  const { small_px, longest_px, face_px, max_covered, sure_score } = networks.facts.search;
  const longest = Math.max(image.width, image.height), blocks = [];
  for (let block = 1, before = Infinity; before > small_px; before = longest / block, block *= 2) {
    if (longest / block <= longest_px) blocks.unshift(block);
  }
  let faces = [];
  for (const block of blocks) {
    const larger = faces, small = shrink(image, block), scale = (values) => values.map((value) => value * block);
    for (const { box, points, score } of await detect(networks, small)) {
      const refined = await refine(networks, small, points), side = Math.max(...sides(box));
      const fits = (side >= face_px[0] || block === blocks.at(-1)) && (side <= face_px[1] || block === blocks[0]);
      const face = { box: scale(box), points: refined?.map(scale), score };
      const isPart = larger.some((other) => common(face.box, other.box) > max_covered * area(face.box));
      if (refined && fits && !isPart) faces = [...faces, face];
    }
  }
  if (!faces.length) return null;
  const best = Math.max(...faces.map((face) => face.score));
  const sure = faces.filter((face) => face.score >= sure_score * best);
  const face = sure.reduce((one, other) => area(other.box) > area(one.box) ? other : one);
  return look(networks, image, face);
}

async function follow(networks, image, { box, points, score }) {
  const refined = await refine(networks, image, points);
  if (!refined) return null;
  const from = measure(points), to = measure(refined), growth = to.size / from.size;
  const moved = box.map((value, k) => k % 2 ? to.y + growth * (value - from.y) : to.x + growth * (value - from.x));
  return look(networks, image, { box: moved, points: refined, score }, true);
}

/** Look at a face again, closely and with level eyes, and add the square around it; return null if it is lost. */
async function look(networks, image, face, followed = false) {
  const { window_in_sides, window_px, min_overlap, margin } = networks.facts.look;
  const angle = eyeAngle(networks, face.points);
  const window = snap(networks, around(face.box, window_in_sides, angle));
  const scale = window.side / window_px;
  const [x, y] = toSquare(centre(face.box), window).map((value) => (value + 0.5) * window_px);
  const [width, height] = sides(face.box).map((value) => value / scale / 2);
  const expected = [x - width, y - height, x + width, y + height];
  const found = await detect(networks, crop(image, window, window_px));
  const [best] = found.sort((one, other) => overlap(expected, other.box) - overlap(expected, one.box));
  let { box } = face;
  if (best && overlap(expected, best.box) >= min_overlap) {
    const [x, y] = fromSquare(centre(best.box).map((value) => value / window_px - 0.5), window);
    const [width, height] = sides(best.box).map((value) => value * scale / 2);
    box = [x - width, y - height, x + width, y + height];
  } else if (followed || face.score < networks.facts.search.sure_score) {
    return null;
  }
  return { ...face, square: snap(networks, around(box, margin, angle)) };
}

/** Return the faces of an image that is not large: the best score first, and no two at the same place. */
async function detect(networks, image) {
  const { columns, threshold, nms_overlap } = networks.facts.detector;
  const values = await networks.detector(image), faces = [];
  for (let row = 0; row < values.length; row += columns.length) {
    const score = values[row + columns.length - 1];
    if (!(score > threshold)) continue;
    const box = [...values.subarray(row, row + 4)];
    const points = [0, 1, 2, 3, 4].map((k) => [...values.subarray(row + 4 + 2 * k, row + 6 + 2 * k)]);
    faces.push({ box, points, score });
  }
  const kept = [];
  for (const face of faces.sort((one, other) => other.score - one.score)) {
    if (kept.every((other) => overlap(face.box, other.box) <= nms_overlap)) kept.push(face);
  }
  const limits = [image.width, image.height];
  for (const face of kept) face.box = face.box.map((value, k) => Math.min(Math.max(value, 0), limits[k % 2]));
  return kept.filter(({ box }) => Math.min(...sides(box)) >= 1);
}

/** Move the points of a face to where a finer network sees them; return null if it sees no face. */
async function refine(networks, image, points) {
  const { input, side_in_sizes, passes, max_shift_in_sizes } = networks.facts.points;
  let shift = 0;
  for (let pass = 0; pass < passes; pass++) {
    const { x, y, size } = measure(points);
    const square = { x, y, side: Math.max(side_in_sizes * size, 1), angle: eyeAngle(networks, points) };
    const output = await networks.points(crop(image, square, input.shape[1]));
    const moved = points.map((_, k) => fromSquare([output[2 * k], output[2 * k + 1]], square));
    const shifts = moved.map((point, k) => Math.hypot(point[0] - points[k][0], point[1] - points[k][1]));
    shift = shifts.reduce((sum, one) => sum + one) / points.length / (square.side / side_in_sizes);
    points = moved;
  }
  return shift <= max_shift_in_sizes ? points : null;
}

// --- geometry

const mean = ([x, y], [u, v]) => [(x + u) / 2, (y + v) / 2];
const sides = ([left, top, right, bottom]) => [right - left, bottom - top];
const centre = ([left, top, right, bottom]) => mean([left, top], [right, bottom]);
const area = (box) => sides(box)[0] * sides(box)[1];

/** Return the area that two boxes have in common. */
function common(one, other) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  return Math.max(width, 0) * Math.max(height, 0);
}

/** Return the intersection of two boxes over their union. */
function overlap(one, other) {
  return common(one, other) / (area(one) + area(other) - common(one, other));
}

/** Return the middle and the size of a face, and the vectors from eye to eye and from the eyes to the mouth. */
function measure([left, right, , mouthLeft, mouthRight]) {
  const eyes = mean(left, right), mouth = mean(mouthLeft, mouthRight), [x, y] = mean(eyes, mouth);
  const across = [right[0] - left[0], right[1] - left[1]], down = [mouth[0] - eyes[0], mouth[1] - eyes[1]];
  return { x, y, size: Math.hypot(...across, ...down), across, down };
}

function eyeAngle(networks, points) {
  let { across, down } = measure(points);
  if (Math.hypot(...across) < networks.facts.look.profile * Math.hypot(...down)) across = [down[1], -down[0]];
  return Math.atan2(across[1], across[0]);
}

function around(box, factor, angle) {
  const [x, y] = centre(box);
  return { x, y, side: Math.max(...sides(box)) * factor, angle };
}

function snap(networks, { x, y, side, angle }) {
  const step = 2 ** Math.round(Math.log2(Math.max(side, 1))) / networks.facts.look.grid_steps;
  const [u, v, w] = [x, y, side].map((value) => Math.round(value / step) * step);
  return { x: u, y: v, side: Math.max(w, step), angle: Math.round(angle * 180 / Math.PI) * Math.PI / 180 };
}

/** Return a point of an image as fractions of a square's side from its centre. */
function toSquare([x, y], square) {
  const cos = Math.cos(square.angle) / square.side, sin = Math.sin(square.angle) / square.side;
  return [cos * (x - square.x) + sin * (y - square.y), cos * (y - square.y) - sin * (x - square.x)];
}

function fromSquare([x, y], square) {
  const cos = Math.cos(square.angle) * square.side, sin = Math.sin(square.angle) * square.side;
  return [cos * x - sin * y + square.x, sin * x + cos * y + square.y];
}

// --- resampling, as Pillow does it; a canvas does it differently in each browser

/** Return an image of means of blocks of pixels; it is kept with the image. */
function shrink(image, block) {
  image.shrunk ??= { 1: image };
  return image.shrunk[block] ??= means(image, block);
}

function means(image, block) {
  const width = Math.ceil(image.width / block), height = Math.ceil(image.height / block);
  const data = new Uint8Array(width * height * 3);
  for (let k = 0; k < data.length; k++) {
    const colour = k % 3, x = Math.floor(k / 3) % width * block, y = Math.floor(k / 3 / width) * block;
    const right = Math.min(x + block, image.width), bottom = Math.min(y + block, image.height);
    const count = (right - x) * (bottom - y);
    let sum = count >> 1; // so that the mean is rounded
    for (let v = y; v < bottom; v++) {
      for (let u = x; u < right; u++) sum += image.data[(v * image.width + u) * 3 + colour];
    }
    data[k] = sum / count;
  }
  return { width, height, data };
}

/** Return an upright image of px * px pixels of a square; it is black outside the image. */
export function crop(image, square, px) {
  const block = Math.max(1, Math.round(square.side / px));
  const { width, height, data } = shrink(image, block);
  const step = square.side / px / block, cos = step * Math.cos(square.angle), sin = step * Math.sin(square.angle);
  const cropped = new Uint8Array(px * px * 3), near = new Int32Array(16), weight = new Float64Array(16);
  for (let k = 0; k < px * px; k++) {
    const right = k % px + 0.5 - px / 2, below = Math.floor(k / px) + 0.5 - px / 2;
    const x = square.x / block + cos * right - sin * below, y = square.y / block + sin * right + cos * below;
    if (x < 0 || y < 0 || x >= width || y >= height) continue;
    const left = Math.floor(x - 0.5), top = Math.floor(y - 0.5);
    const across = cubic(x - 0.5 - left), down = cubic(y - 0.5 - top);
    for (let j = 0; j < 16; j++) {
      const u = Math.min(Math.max(left - 1 + j % 4, 0), width - 1);
      const v = Math.min(Math.max(top - 1 + (j >> 2), 0), height - 1);
      near[j] = (v * width + u) * 3;
      weight[j] = across[j % 4] * down[j >> 2];
    }
    for (let colour = 0; colour < 3; colour++) {
      let sum = 0;
      for (let j = 0; j < 16; j++) sum += weight[j] * data[near[j] + colour];
      cropped[3 * k + colour] = Math.min(Math.max(sum, 0), 255);
    }
  }
  return { width: px, height: px, data: cropped };
}

/** Return the weights of four neighbours of a place `d` after the second: bicubic with a = -1. */
function cubic(d) {
  return [d * (d * (2 - d) - 1), d * d * (d - 2) + 1, d * (1 + d * (1 - d)), d * d * (d - 1)];
}
