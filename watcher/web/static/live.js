// Keeps a page up to date: fetches it anew and takes over what changed, part by part, so that focus, scrolling
// and a playing video stay as they are. Every word comes from the same template as the first time.
"use strict";

// Where the policy lets the page load from that it came with.
const ALLOWED = [...document.querySelectorAll("[data-live]")].flatMap(origins);

function origins(part) {
  return (part.dataset.origins ?? "").split(" ").filter(Boolean);
}

// What of `fresh` differs is taken over into `old`. A part marked data-keep looks after its own content.
function take(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.hasAttribute("data-keep")) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const known = child.id ? [...old.children].find((one) => one.id === child.id) : alike(place, child);
    if (!known) {
      old.insertBefore(document.importNode(child, true), place);
      continue;
    }
    if (known !== place) old.insertBefore(known, place);
    place = known.nextSibling;
    if (known.nodeType === Node.ELEMENT_NODE) take(known, child);
    else if (known.data !== child.data) known.data = child.data;
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function alike(old, fresh) {
  return old && old.nodeName === fresh.nodeName && !old.id ? old : null;
}

async function refresh() {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const found = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
    if (found && origins(found).some((origin) => !ALLOWED.includes(origin))) {
      location.reload(); // such as a bucket that was out of reach then
      return;
    }
    if (found) take(part, found);
  }
  document.dispatchEvent(new Event("refreshed"));
}

function pause() {
  const parts = [...document.querySelectorAll("[data-live]")];
  return 1000 * Math.min(...parts.map((part) => Number(part.dataset.every)));
}

async function follow() {
  if (!document.hidden) {
    try {
      await refresh();
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // the server does not answer: it may at the next try
    }
  }
  setTimeout(follow, pause());
}

if (document.querySelector("[data-live]")) setTimeout(follow, pause());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh().catch(() => {});
});
