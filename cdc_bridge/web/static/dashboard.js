// Refreshes the live regions of a page. Everything else works without scripts.
"use strict";

const REFRESH_EVERY_MILLISECONDS = 1000 * (document.body.dataset.refreshSeconds ?? 2);
const GIVE_UP_AFTER_MILLISECONDS = 10000;
const FAILURES_UNTIL_STALE = 3;

// Times are sent in UTC and shown in local time.
const format = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "short" });

function short(at) {
  return (at.toDateString() === new Date().toDateString() ? clock : day).format(at);
}

function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    time.title = time.dateTime;
    time.textContent = "short" in time.dataset ? short(at) : format.format(at);
  }
}

// Times are typed in local time and sent in UTC.
function localFields() {
  for (const field of document.querySelectorAll("input[data-local]")) {
    const at = new Date(`${field.value}Z`);
    if (field.value && !Number.isNaN(at.valueOf())) {
      field.value = new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
    }
    document.querySelector(`label[for="${field.id}"] .utc`)?.remove();
    field.form.addEventListener("formdata", (event) => {
      if (field.value) event.formData.set(field.name, new Date(field.value).toISOString());
    });
  }
}

// A region in which something is selected is left alone.
function inUse(region) {
  const selection = document.getSelection();
  const selected = selection && !selection.isCollapsed && region.contains(selection.anchorNode);
  return selected || region.querySelector("input:checked, details[open]") !== null;
}

function placeOf(element, region) {
  if (!element || !region.contains(element)) return null;
  const kind = element.tagName.toLowerCase();
  const alike = (root) => [...root.querySelectorAll(kind)].filter((one) => one.getAttribute("href") === element.getAttribute("href"));
  const index = alike(region).indexOf(element);
  return () => alike(region)[index]?.focus({ preventScroll: true });
}

async function refresh(regions) {
  const response = await fetch(location.href, {
    headers: { "x-refresh": "1" },
    redirect: "error",
    signal: AbortSignal.timeout(GIVE_UP_AFTER_MILLISECONDS),
  });
  if (response.status === 401) {
    location.reload();
    return;
  }
  if (response.status >= 500) throw new Error(response.statusText);
  if (!response.ok) return; // It is gone, and what was read of it stays.
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
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

// A page stays open after its daemon ends, so it has to say that it is stale.
let freshAt = new Date();
let failures = 0;

function showStale() {
  const stale = document.getElementById("stale");
  stale.hidden = failures < FAILURES_UNTIL_STALE;
  stale.textContent = stale.hidden ? "" : `Not up to date since ${format.format(freshAt)}: the daemon does not respond.`;
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
    showStale();
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

// The Back button may restore the page as it was; the secret must not come back with it.
addEventListener("pagehide", () => document.getElementById("secret")?.remove());

// The token of a link to the portal: into the form, and out of the address and the history.
function takeToken() {
  const field = document.getElementById("portal-token");
  if (!field || location.hash.length < 2) return;
  field.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
}

addEventListener("hashchange", takeToken);
takeToken();
localTimes(document);
localFields();
document.getElementById("zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
copyButtons();
setTimeout(keepFresh, REFRESH_EVERY_MILLISECONDS);
