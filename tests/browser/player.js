// Plays what a test tells it to, and writes down what a viewer gets to see. The pictures of the tests' films
// show their own numbers as black and white squares along the upper edge: see `film` in theatre.py.
"use strict";

const video = document.querySelector("video");
const strip = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

const player = {
  film: null, // the size of the source and of its squares, and how many of these there are
  hls: null,
  errors: [], // [details, is fatal]
  playlists: [], // [rung, type, is growing, seconds], of the rungs that hls.js loaded
  frames: [], // [media time, number in the picture, height of the picture], as they came onto the screen

  open(film, url, how) {
    player.film = film;
    video.addEventListener("error", () => player.errors.push([`media error ${video.error.code}: ${video.error.message}`, true]));
    if (how === "plain") {
      video.src = url;
      return;
    }
    player.hls = new Hls({ enableWorker: true });
    player.hls.on(Hls.Events.ERROR, (_, error) => player.errors.push([error.details, error.fatal]));
    player.hls.on(Hls.Events.LEVEL_LOADED, (_, { level, details }) =>
      player.playlists.push([level, details.type, details.live, details.edge]));
    player.hls.loadSource(url);
    player.hls.attachMedia(video);
  },

  // The rungs' heights, in hls.js's own order.
  heights() {
    return player.hls.levels.map((level) => level.height);
  },

  facts() {
    const quality = video.getVideoPlaybackQuality();
    return {
      time: video.currentTime,
      duration: video.duration,
      ended: video.ended,
      height: video.videoHeight,
      decoded: quality.totalVideoFrames,
      dropped: quality.droppedVideoFrames,
      sound: video.webkitAudioDecodedByteCount,
      errors: player.errors,
      playlists: player.playlists,
      frames: player.frames,
    };
  },
};

// Reads the number in the picture that is shown now.
function number() {
  const { width, height, block, bits } = player.film;
  strip.canvas.width = bits * block;
  strip.canvas.height = block;
  const [across, down] = [video.videoWidth / width, video.videoHeight / height];
  strip.drawImage(video, 0, 0, bits * block * across, block * down, 0, 0, bits * block, block);
  const row = strip.getImageData(0, block / 2, bits * block, 1).data;
  let found = 0;
  for (let bit = 0; bit < bits; bit += 1) {
    found += row[4 * (bit * block + block / 2)] > 125 ? 2 ** bit : 0;
  }
  return found;
}

function look(_, frame) {
  player.frames.push([frame.mediaTime, number(), frame.height]);
  video.requestVideoFrameCallback(look);
}

video.requestVideoFrameCallback(look);
