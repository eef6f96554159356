// Plays a video: through hls.js where there is Media Source, else as the browser can by itself, else the MP4.
// Only the first gets the controls of this page; the browser's own are what the page has without this script.
"use strict";

const STEP = 5; // seconds, of the arrow keys
const LEAP = 15; // of page up and down
const CLOSE = 0.5; // seconds before the end at which a stall can only be the end
const CALM = 10_000; // milliseconds between two new beginnings after a failure

class Player {
  constructor(box) {
    this.box = box;
    this.video = box.querySelector("video");
    this.tiles = [];
    this.begunAt = -Infinity;
    if (this.canHls && window.Hls && Hls.isSupported()) {
      this.video.removeAttribute("src");
      this.hls = null;
      this.begin(0);
      this.takeOver();
    } else if (this.canHls && this.video.canPlayType("application/vnd.apple.mpegurl")) {
      this.video.crossOrigin = "anonymous"; // Chromium takes segments of another origin only like this
      this.video.src = box.dataset.hls;
    } else if (box.dataset.mp4) {
      this.video.src = box.dataset.mp4;
      this.takeOver();
    }
    this.video.addEventListener("error", () => this.fail("The video cannot be played."));
    this.refresh();
  }

  get canHls() {
    return Boolean(this.box.dataset.hls);
  }

  // Seconds of the whole film; of one that grows, as the server says.
  get seconds() {
    const stated = Number(this.box.dataset.seconds) || 0;
    const { duration } = this.video;
    return Number.isFinite(duration) ? Math.max(duration, stated) : stated;
  }

  // Seconds that can be played so far.
  get made() {
    const { seekable } = this.video;
    return seekable.length ? seekable.end(seekable.length - 1) : 0;
  }

  // Starts loading at a time. Before anybody has pressed play only the list of streams is fetched.
  begin(at) {
    this.begunAt = performance.now();
    const wasBegun = this.hls !== null;
    this.hls?.destroy();
    this.hls = new Hls({ autoStartLoad: wasBegun, startPosition: at, enableWorker: false, capLevelToPlayerSize: true });
    this.hls.on(Hls.Events.ERROR, (_, error) => this.hlsFailed(error));
    this.hls.on(Hls.Events.MANIFEST_PARSED, () => this.offerQualities());
    this.hls.loadSource(this.box.dataset.hls);
    this.hls.attachMedia(this.video);
    if (!wasBegun) {
      const load = () => this.hls.startLoad(this.video.currentTime || 0);
      this.video.addEventListener("play", load, { once: true });
    }
  }

  hlsFailed({ type, details, fatal }) {
    if (!fatal) {
      if (details === Hls.ErrorDetails.BUFFER_STALLED_ERROR) this.endIfOver();
      return;
    }
    if (performance.now() - this.begunAt > CALM) {
      // Such as a link that has run out: a new playlist has new ones.
      const { currentTime, paused } = this.video;
      this.begin(currentTime);
      if (!paused) this.video.play().catch(() => {});
    } else if (type === Hls.ErrorTypes.MEDIA_ERROR) {
      this.hls.recoverMediaError();
    } else if (this.box.dataset.mp4) {
      const { currentTime, paused } = this.video;
      this.hls.destroy();
      this.box.querySelector("select").hidden = true;
      this.video.src = this.box.dataset.mp4;
      this.video.currentTime = currentTime;
      if (!paused) this.video.play().catch(() => {});
    } else {
      this.fail("The video cannot be loaded. If it stays like this, run watcher doctor: the bucket may not let this page read it.");
    }
  }

  // hls.js waits for ever for a last bit of sound that begins after the last picture, and so does not fit in.
  endIfOver() {
    const isWhole = this.hls.levels[this.hls.currentLevel]?.details?.live === false;
    if (isWhole && this.video.duration - this.video.currentTime < CLOSE) {
      this.hls.trigger(Hls.Events.BUFFER_EOS, { type: "audio" });
    }
  }

  fail(words) {
    const message = this.box.querySelector(".message");
    message.textContent = words;
    message.hidden = false;
  }

  // The page was brought up to date: there may be a longer film, or a storyboard.
  refresh() {
    const { storyboard } = this.box.dataset;
    if (storyboard && !this.tiles.length) this.loadTiles(storyboard);
    if (this.range) this.show();
  }

  async loadTiles(address) {
    const answer = await fetch(address);
    if (!answer.ok) return;
    const cue = /([\d:.]+) --> ([\d:.]+)[^\n]*\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)/g;
    this.tiles = [...(await answer.text()).matchAll(cue)].map(([, start, end, sheet, ...place]) => (
      { start: seconds(start), end: seconds(end), sheet, place: place.map(Number) }));
  }

  // Replaces the browser's controls by those of the page.
  takeOver() {
    this.video.controls = false;
    this.range = this.box.querySelector("input[type=range]");
    this.preview = this.box.querySelector(".preview");
    this.box.querySelector(".controls").hidden = false;
    this.box.classList.add("ready");
    const on = (target, names, act) => names.split(" ").forEach((name) => target.addEventListener(name, act));
    on(this.video, "timeupdate durationchange progress play pause volumechange ended seeking", () => this.show());
    on(this.video, "click", () => this.toggle());
    on(this.box, "click", ({ target }) => this.press(target.closest("button[data-do]")?.dataset.do));
    on(this.box, "keydown", (event) => this.key(event));
    on(this.range, "input", () => this.seek(Number(this.range.value)));
    on(this.range, "pointermove", (event) => this.peek(this.timeAt(event)));
    on(this.range, "input", () => this.peek(Number(this.range.value)));
    on(this.range, "pointerleave blur pointerup", () => { this.preview.hidden = true; });
    const quality = this.box.querySelector("select");
    quality.hidden = !this.hls;
    on(quality, "change", () => { this.hls.nextLevel = Number(quality.value); });
    this.show();
  }

  press(what) {
    if (what === "play") this.toggle();
    if (what === "mute") this.video.muted = !this.video.muted;
    if (what === "fullscreen") {
      if (document.fullscreenElement) document.exitFullscreen();
      else if (this.box.requestFullscreen) this.box.requestFullscreen().catch(() => {});
      else this.video.webkitEnterFullscreen?.(); // an iPhone shows only the video itself full screen
    }
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === "SELECT") return;
    const isButton = event.target.tagName === "BUTTON";
    const { currentTime } = this.video;
    const acts = {
      ArrowLeft: () => this.seek(currentTime - STEP),
      ArrowRight: () => this.seek(currentTime + STEP),
      PageDown: () => this.seek(currentTime - LEAP),
      PageUp: () => this.seek(currentTime + LEAP),
      Home: () => this.seek(0),
      End: () => this.seek(this.made),
      k: () => this.toggle(),
      m: () => this.press("mute"),
      f: () => this.press("fullscreen"),
      ...(isButton ? {} : { " ": () => this.toggle() }),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  toggle() {
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }

  // Goes to a time; of a film that grows, at most to what there is.
  seek(to) {
    const last = this.made || this.seconds;
    this.video.currentTime = Math.min(Math.max(to, 0), Math.max(last - 0.1, 0));
    this.show();
  }

  timeAt({ clientX }) {
    const { left, width } = this.range.getBoundingClientRect();
    return this.seconds * Math.min(Math.max((clientX - left) / width, 0), 1);
  }

  // Shows the storyboard's picture for a time above the timeline.
  peek(time) {
    const { preview } = this;
    const tile = this.tiles.find(({ start, end }) => start <= time && time < end) ?? this.tiles.at(-1);
    const picture = preview.querySelector(".still");
    if (tile) {
      const [x, y, width, height] = tile.place;
      Object.assign(picture.style, {
        width: `${width}px`, height: `${height}px`,
        backgroundImage: `url("${tile.sheet}")`, backgroundPosition: `-${x}px -${y}px`,
      });
    }
    picture.hidden = !tile;
    preview.querySelector(".at").textContent = clock(time);
    preview.hidden = false;
    const room = this.range.offsetWidth;
    const half = preview.offsetWidth / 2;
    preview.style.left = `${Math.min(Math.max((room * time) / (this.seconds || 1), half), Math.max(room - half, half))}px`;
  }

  offerQualities() {
    const select = this.box.querySelector("select");
    const levels = this.hls.levels.map(({ width, height }, index) => [Math.min(width, height), index]);
    select.replaceChildren(select.options[0], ...levels
      .sort(([one], [other]) => other - one)
      .map(([height, index]) => new Option(`${height}p`, index)));
  }

  show() {
    const { video, range, seconds: whole } = this;
    const now = video.currentTime;
    const part = (time) => `${whole ? Math.min((100 * time) / whole, 100) : 0}%`;
    range.max = whole;
    range.value = now;
    range.setAttribute("aria-valuetext", `${clock(now)} of ${clock(whole)}`);
    range.style.setProperty("--played", part(now));
    range.style.setProperty("--made", part(this.made));
    this.box.classList.toggle("playing", !video.paused);
    this.box.classList.toggle("muted", video.muted);
    this.box.querySelector("[data-do=play]").setAttribute("aria-label", video.paused ? "Play" : "Pause");
    this.box.querySelector("[data-do=mute]").setAttribute("aria-label", video.muted ? "Sound on" : "Mute");
    this.box.querySelector("[data-show=time]").textContent = clock(now);
    this.box.querySelector("[data-show=length]").textContent = clock(whole);
    const isGrowing = this.made > 0 && whole - this.made > 1;
    this.box.querySelector("[data-show=making]").textContent = isGrowing ? `${clock(this.made)} made so far` : "";
  }
}

// "1:02:03.5" as seconds.
function seconds(text) {
  return text.split(":").reduce((sum, part) => 60 * sum + Number(part), 0);
}

function clock(time) {
  const whole = Math.floor(time || 0);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

const players = new Map();

function look() {
  for (const box of document.querySelectorAll("[data-player]")) {
    if (players.has(box)) players.get(box).refresh();
    else players.set(box, new Player(box));
  }
}

document.addEventListener("refreshed", look);
look();
