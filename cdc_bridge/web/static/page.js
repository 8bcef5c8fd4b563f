// What makes the pages live. Everything works without it; then a page is as it was when it was loaded.
"use strict";

const REFRESH_EVERY_MILLISECONDS = 2000;
const GIVE_UP_AFTER_MILLISECONDS = 10000;
const FAILURES_UNTIL_STALE = 3;

// Times are sent in UTC; here they become the reader's own.
const format = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    time.title = time.dateTime;
    time.textContent = format.format(at);
  }
}

// A region in which somebody has chosen or marked something is left as it is.
function inUse(region) {
  const selection = document.getSelection();
  const marked = selection && !selection.isCollapsed && region.contains(selection.anchorNode);
  return marked || region.querySelector("input:checked") !== null;
}

function placeOf(element, region) {
  if (!element || !region.contains(element)) return null;
  const kind = element.tagName.toLowerCase();
  const alike = (root) => [...root.querySelectorAll(kind)].filter((one) => one.getAttribute("href") === element.getAttribute("href"));
  const index = alike(region).indexOf(element);
  return () => alike(region)[index]?.focus({ preventScroll: true });
}

async function refresh(regions) {
  const answer = await fetch(location.href, {
    headers: { "x-refresh": "1" },
    redirect: "error",
    signal: AbortSignal.timeout(GIVE_UP_AFTER_MILLISECONDS),
  });
  if (answer.status === 401) {
    location.reload();
    return;
  }
  if (!answer.ok) throw new Error(answer.statusText);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const region of regions) {
    const other = fresh.getElementById(region.id);
    if (!other || inUse(region)) continue;
    localTimes(other);
    if (other.innerHTML === region.innerHTML) continue;
    const focusAgain = placeOf(document.activeElement, region);
    region.replaceChildren(...other.childNodes);
    if (focusAgain) focusAgain();
  }
}

// What is seen has to be known to be old: a page goes on being there when its daemon does not.
let freshAt = new Date();
let failures = 0;

function tellStale() {
  const stale = document.getElementById("stale");
  stale.hidden = failures < FAILURES_UNTIL_STALE;
  stale.textContent = stale.hidden ? "" : `Not up to date since ${format.format(freshAt)}: the daemon does not answer.`;
  document.body.classList.toggle("stale", !stale.hidden);
}

async function keepFresh() {
  const regions = [...document.querySelectorAll("[data-live]")];
  if (!document.hidden && regions.length > 0) {
    try {
      await refresh(regions);
      freshAt = new Date();
      failures = 0;
    } catch {
      failures += 1;
    }
    tellStale();
  }
  setTimeout(keepFresh, REFRESH_EVERY_MILLISECONDS);
}

function copyButtons() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    });
  }
}

// A browser may keep the page as it is for its Back button; a secret is not to come back with it.
addEventListener("pagehide", () => document.getElementById("secret")?.remove());

localTimes(document);
document.getElementById("zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
copyButtons();
setTimeout(keepFresh, REFRESH_EVERY_MILLISECONDS);
