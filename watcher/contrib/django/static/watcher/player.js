// Plays what {% watcher_player %} shows, and brings the page up to date until the video is complete.
"use strict";

const PATIENCE = 2_000; // milliseconds between two looks

function play(video) {
  const address = video.dataset.watcherHls;
  const hasMp4 = video.querySelector("source") !== null;
  if (window.Hls !== undefined && Hls.isSupported()) {
    const player = new Hls({ autoStartLoad: false }); // nothing is loaded before somebody wants to watch
    player.loadSource(address);
    player.attachMedia(video);
    video.addEventListener("play", () => player.startLoad(), { once: true });
    player.on(Hls.Events.ERROR, (_, error) => {
      if (!error.fatal) return;
      player.destroy();
      if (hasMp4) video.load();
    });
  } else if (!hasMp4 && video.canPlayType("application/vnd.apple.mpegurl")) {
    video.src = address;
  }
}

async function follow(box) {
  const answer = await fetch(box.dataset.watcherStatus, { credentials: "same-origin" });
  if (answer.status >= 500) throw new Error(`the site answered ${answer.status}`); // for a moment, such as a restart
  if (!answer.ok) return;
  const state = await answer.json();
  const bar = box.querySelector("progress");
  if (bar !== null) bar.value = state.progress;
  const video = box.querySelector("video");
  if (video === null && (state.is_playable || state.is_over)) {
    location.reload();
  } else if (!state.is_over) {
    setTimeout(() => keepFollowing(box), PATIENCE);
  } else if (bar !== null) {
    bar.remove(); // who is watching goes on: the playlists grew to the end
  }
}

function keepFollowing(box) {
  follow(box).catch(() => setTimeout(() => keepFollowing(box), PATIENCE)); // such as no network
}

document.querySelectorAll("video[data-watcher-hls]").forEach(play);
document.querySelectorAll("[data-watcher-status]").forEach(keepFollowing);
if (document.querySelector("[data-watcher-reload]") !== null) setTimeout(() => location.reload(), PATIENCE);
