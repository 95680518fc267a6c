// The film, and the boxes of the faces over it. Without a film that plays, only the moment moves.
const video = $("film");
const player = {
  plays: false,
  seek(t) {
    const frame = frameAt(t), next = timeOf(frame + 1);
    setTime(T[frame]);
    // A browser shows the frame before if a time is rounded down, so aim a little behind the frame's start.
    if (player.plays) video.currentTime = T[frame] + Math.min(0.004, Math.max(0, (next - T[frame]) / 4));
  },
  step(frames) {
    if (player.plays) video.pause();
    player.seek(T[Math.min(T.length - 1, Math.max(0, frameAt(view.time) + frames))]);
  },
  toggle() {
    if (!player.plays) return;
    if (video.paused) video.play().catch(() => {});
    else video.pause();
  },
};

function cannotPlay() {
  player.plays = false;
  $("stage").hidden = true;
  $("no-film").hidden = false;
}

let boxes = null;
function drawBoxes() {
  const svg = $("boxes");
  if (!player.plays) return;
  boxes ||= D.people.map((person) => {
    const c = decode(person.box_k, person.box_k.map((_, i) => i), 1);
    return { person, c, at: (i) => person.box.slice(4 * i, 4 * i + 4) };
  });
  svg.setAttribute("viewBox", `0 0 ${video.videoWidth} ${video.videoHeight}`);
  const size = Math.max(10, video.videoHeight / 22), NS = "http://www.w3.org/2000/svg";
  const shapes = [];
  for (const { person, c, at } of boxes) {
    const i = valueAt(c, view.time);
    if (i == null || !person.box.length) continue;
    const low = at(Math.floor(i)), high = at(Math.ceil(i)), part = i - Math.floor(i);
    const [x1, y1, x2, y2] = low.map((v, j) => v + (high[j] - v) * part);
    const box = document.createElementNS(NS, "rect"), label = document.createElementNS(NS, "text");
    for (const [key, value] of [["x", x1], ["y", y1], ["width", x2 - x1], ["height", y2 - y1]]) box.setAttribute(key, value);
    box.setAttribute("class", person === view.person ? "chosen" : "");
    label.setAttribute("x", x1);
    label.setAttribute("y", y1 - size * 0.3 < size ? y2 + size : y1 - size * 0.3);
    label.setAttribute("font-size", size);
    label.textContent = person.title;
    shapes.push(box, label);
  }
  svg.replaceChildren(...shapes);
}

function nearest(t) { // the time of a frame, if it is the same but for rounding
  const start = T[frameAt(t + 0.002)];
  return Math.abs(start - t) < 0.002 ? start : t;
}

// WebKit with GStreamer adds the delay of the decoder to the time of a frame; others are a refresh of the screen ahead.
const timeShown = ({ mediaTime }) => (mediaTime - video.currentTime > 0.05 ? video.currentTime : mediaTime);

function follow() { // the frame that is on the screen
  if (video.requestVideoFrameCallback) {
    const act = (_, data) => {
      if (!video.seeking) setTime(nearest(timeShown(data)));
      video.requestVideoFrameCallback(act);
    };
    video.requestVideoFrameCallback(act);
  } else {
    const act = () => {
      if (!video.paused) setTime(video.currentTime);
      requestAnimationFrame(act);
    };
    requestAnimationFrame(act);
  }
  video.addEventListener("seeked", () => {
    // Moved with the player's own controls; the page itself moves to the start of a frame.
    if (Math.abs(video.currentTime - view.time) > 0.02) setTime(nearest(video.currentTime));
  });
}

function startPlayer() {
  if (!video) return;
  const ready = () => {
    if (!video.videoWidth) return cannotPlay();
    player.plays = true;
    $("stage").style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`;
    drawBoxes();
  };
  video.addEventListener("error", cannotPlay);
  if (video.error) cannotPlay();
  else if (video.readyState >= 1) ready();
  else video.addEventListener("loadedmetadata", ready);
  follow();
  on("time person", drawBoxes);
}
