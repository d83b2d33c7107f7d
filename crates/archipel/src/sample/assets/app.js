// The demos of the sample site. Plain JavaScript, nothing from elsewhere.
"use strict";

const at = (id) => document.getElementById(id);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const milliseconds = (ms) => (ms < 10 ? ms.toFixed(1) : Math.round(ms).toLocaleString("en")) + " ms";
const megabytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0) + " MB";

/** An address that nobody has asked for yet, so that the first answer cannot be a copy. */
function fresh(path) {
  const token = Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
  return path + (path.includes("?") ? "&" : "?") + "visit=" + token;
}

/** An element with text or children. */
function make(tag, props, ...children) {
  const element = Object.assign(document.createElement(tag), props);
  element.append(...children);
  return element;
}

/** What Cache-Status (RFC 9211) says in one word. Its last member is the cache nearest to us. */
function verdict(cacheStatus) {
  if (!cacheStatus) return { word: "no cache", kind: "pass" };
  const last = cacheStatus.split(",").pop();
  const forwarded = /;\s*fwd=([a-z-]+)/.exec(last)?.[1];
  if (/;\s*hit\b/.test(last)) return { word: forwarded === "stale" ? "STALE HIT" : "HIT", kind: "hit" };
  if (forwarded === "stale") {
    // A failure of the origin behind a copy whose time is up: the copy was served in its place.
    if (/fwd-status=5/.test(last) && /ttl=-/.test(last)) return { word: "STALE COPY", kind: "hit" };
    return /fwd-status=304/.test(last) ? { word: "REVALIDATED", kind: "hit" } : { word: "STALE", kind: "miss" };
  }
  if (/;\s*collapsed\b/.test(last)) return { word: "COLLAPSED", kind: "hit" };
  if (forwarded && forwarded.endsWith("miss")) {
    return /;\s*stored\b/.test(last) ? { word: "MISS, STORED", kind: "miss" } : { word: "MISS", kind: "miss" };
  }
  return { word: forwarded ? "PASSED ON" : "?", kind: "pass" };
}

function badge(cacheStatus) {
  const { word, kind } = verdict(cacheStatus);
  return make("span", { className: "badge " + kind }, word);
}

/** Fetches past the browser's cache, and says how long it took and what the caches in between said. */
async function ask(path, options = {}) {
  const begun = performance.now();
  const response = await fetch(path, { cache: "no-store", ...options });
  const text = await response.text();
  return {
    text,
    ms: performance.now() - begun,
    status: response.status,
    cacheStatus: response.headers.get("cache-status"),
    answer: response.headers.get("sample-answer"),
    age: response.headers.get("age"),
    headers: response.headers,
  };
}

/** Runs `work` while `button` is disabled, and shows in `place` what went wrong. */
async function busy(button, place, work) {
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    place.replaceChildren(make("span", { className: "badge fail" }, "FAILED"), " " + error.message);
  } finally {
    button.disabled = false;
  }
}

// This visit

function showVisit() {
  const navigation = performance.getEntriesByType("navigation")[0];
  const names = { "h2": "HTTP/2", "http/1.1": "HTTP/1.1", "h3": "HTTP/3", "http/1.0": "HTTP/1.0" };
  const secure = location.protocol === "https:" ? " over TLS" : "";
  at("fact-protocol").textContent = (names[navigation?.nextHopProtocol] ?? "HTTP") + secure;
}

async function showPage() {
  const page = await ask("/");
  at("fact-verdict").replaceChildren(badge(page.cacheStatus));
  at("fact-time").textContent = milliseconds(page.ms);
  at("fact-answer").textContent = page.answer ? "no. " + page.answer + (page.age ? ", " + page.age + " s old" : "") : "–";
  at("direct").hidden = page.cacheStatus !== null;
}

// Everything twice

const resources = [
  ["This page", "a minute", "/"],
  ["Style sheet", "an hour", "/style.css"],
  ["The map above", "an hour", "/islands.webp"],
  ["Product list", "JSON, 30 seconds", "/api/products"],
  ["Slow page", "a minute", "/slow?ms=700"],
  ["The time", "JSON, never stored", "/api/time"],
  ["For you alone", "private, never stored here", "/private"],
];

function result(cell, got, slowest) {
  const { kind } = verdict(got.cacheStatus);
  const meter = make("div", { className: "meter " + kind });
  meter.style.setProperty("--share", Math.min(1, got.ms / slowest));
  cell.replaceChildren(
    make("div", { className: "took" }, make("span", {}, milliseconds(got.ms)), badge(got.cacheStatus)),
    meter,
    make("span", { className: "raw" }, got.cacheStatus ?? ""),
  );
}

async function askTwice() {
  const slowest = 800;
  const rows = resources.map(([name, lifetime, path]) => {
    const cells = ["First", "Second", ""].map((label) => make("td", label ? {} : { className: "gain" }));
    cells[0].dataset.label = "First";
    cells[1].dataset.label = "Second";
    const head = make("th", { scope: "row" }, name, make("small", {}, lifetime));
    return { path: fresh(path), cells, row: make("tr", {}, head, ...cells) };
  });
  at("twice").replaceChildren(...rows.map(({ row }) => row));
  for (const { path, cells } of rows) {
    const first = await ask(path);
    result(cells[0], first, slowest);
    const second = await ask(path);
    result(cells[1], second, slowest);
    const gain = first.ms / second.ms;
    const cached = verdict(second.cacheStatus).kind === "hit";
    cells[2].textContent = cached && gain >= 1.5 ? Math.round(gain) + " × faster" : "";
  }
  at("twice-status").textContent = "All resources were asked for twice.";
}

// Under pressure

async function sendCrowd() {
  const path = fresh("/slow?ms=800");
  const visitors = 20;
  at("crowd").textContent = "Waiting…";
  const begun = performance.now();
  const answers = await Promise.all(Array.from({ length: visitors }, () => ask(path)));
  const took = performance.now() - begun;
  const asked = new Set(answers.map(({ answer }) => answer)).size;
  const times = asked === 1 ? "once" : asked + " times";
  at("crowd").replaceChildren(
    make("p", {}, make("strong", {}, `${visitors} visitors, the origin was asked ${times}.`)),
    make("p", { className: "small" }, `The last had its answer after ${milliseconds(took)}.`),
    make("span", { className: "raw" }, answers.at(-1).cacheStatus ?? ""),
  );
}

async function breakOrigin() {
  const path = fresh("/old");
  const place = at("old");
  const step = (name, got) =>
    make("div", {},
      make("p", {}, `${name}: ${got.status} `, badge(got.cacheStatus)),
      make("span", { className: "raw" }, got.cacheStatus ?? ""));
  const before = await ask(path);
  place.replaceChildren(step("Stored", before), make("p", { className: "small" }, "Two seconds, so that it goes stale…"));
  await pause(2200);
  const after = await ask(path, { headers: { "sample-fail": "1" } });
  const saved = after.status === 200 && after.answer === before.answer;
  place.replaceChildren(
    step("Stored", before),
    step("Origin fails", after),
    make("p", {}, make("strong", {}, saved ? "The visitor saw the page all the same." : "The visitor saw the failure.")),
  );
}

async function fetchSlow() {
  at("slow").textContent = "Waiting…";
  const got = await ask("/slow?ms=" + encodeURIComponent(at("slow-ms").value));
  at("slow").replaceChildren(
    make("p", {}, milliseconds(got.ms) + " ", badge(got.cacheStatus), got.age ? ` ${got.age} s old` : ""),
    make("span", { className: "raw" }, got.cacheStatus ?? ""),
  );
}

// Things that stay open

function note(list, text) {
  list.prepend(make("li", {}, text));
  while (list.children.length > 5) list.lastChild.remove();
}

let source = null;

function toggleEvents() {
  const button = at("events-run");
  const stop = () => {
    source?.close();
    source = null;
    button.textContent = "Listen";
    button.setAttribute("aria-pressed", "false");
  };
  if (source) return stop();
  source = new EventSource("/events");
  button.textContent = "Stop";
  button.setAttribute("aria-pressed", "true");
  source.onmessage = (event) => {
    const { number, of, unix_ms: sent } = JSON.parse(event.data);
    note(at("events"), `${number} of ${of}, ${Math.max(0, Date.now() - sent)} ms on its way`);
  };
  source.addEventListener("end", () => {
    note(at("events"), "That was all.");
    stop();
  });
  source.onerror = () => note(at("events"), "The connection was lost; the browser tries again.");
}

let socket = null;

/** The open WebSocket, or a new one. */
function connected() {
  if (socket && socket.readyState <= WebSocket.OPEN) return socket;
  socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/ws");
  socket.sent = [];
  socket.onmessage = (event) => note(at("ws"), `“${event.data}” after ${milliseconds(performance.now() - socket.sent.shift())}`);
  socket.onclose = (event) => note(at("ws"), `Closed (${event.code}).`);
  return socket;
}

function sendMessage() {
  const open = connected();
  const send = () => {
    open.sent.push(performance.now());
    open.send(at("ws-text").value);
  };
  if (open.readyState === WebSocket.OPEN) send();
  else open.addEventListener("open", send, { once: true });
}

// Big things

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** CRC-32 of a blob, read piece by piece. */
async function crc32(blob) {
  let sum = 0xffffffff;
  const reader = blob.stream().getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    for (const byte of piece.value) sum = (sum >>> 8) ^ crcTable[(sum ^ byte) & 255];
  }
  return ((sum ^ 0xffffffff) >>> 0).toString(16).padStart(8, "0");
}

/** Noise of so many bytes, a multiple of a mebibyte. */
function noise(bytes) {
  const piece = new Uint8Array(1 << 20);
  for (let from = 0; from < piece.length; from += 65536) crypto.getRandomValues(piece.subarray(from, from + 65536));
  return new Blob(Array.from({ length: bytes / piece.length }, () => piece));
}

/** Sends a blob; fetch cannot tell how far an upload is. */
function post(path, blob, progress) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("content-type", "application/octet-stream");
    request.setRequestHeader("accept", "application/json");
    request.upload.onprogress = (event) => progress(event.loaded / (event.total || 1));
    request.onerror = () => fail(new Error("the connection broke"));
    request.onload = () =>
      request.status === 200 ? done(JSON.parse(request.responseText)) : fail(new Error("status " + request.status));
    request.send(blob);
  });
}

async function upload(blob) {
  const [bar, place] = [at("upload-bar"), at("upload")];
  place.textContent = "Sending…";
  bar.value = 0;
  const begun = performance.now();
  const receipt = await post("/upload", blob, (share) => { bar.value = share; });
  const seconds = (performance.now() - begun) / 1000;
  bar.value = 1;
  const own = await crc32(blob);
  const whole = own === receipt.crc32 && blob.size === receipt.bytes;
  place.replaceChildren(
    make("p", {}, make("span", { className: "badge " + (whole ? "hit" : "fail") }, whole ? "INTACT" : "DAMAGED"),
      ` ${megabytes(receipt.bytes)} at ${megabytes(receipt.bytes / seconds)}/s`),
    make("span", { className: "raw" }, `CRC-32 there ${receipt.crc32}, here ${own}`),
  );
}

let download = null;

async function fetchLarge() {
  const [button, bar, place] = [at("large-run"), at("large-bar"), at("large")];
  if (download) return download.abort();
  download = new AbortController();
  button.textContent = "Stop";
  bar.value = 0;
  let got = 0;
  try {
    const begun = performance.now();
    const response = await fetch("/large?mb=64", { cache: "no-store", signal: download.signal });
    const total = Number(response.headers.get("content-length"));
    const reader = response.body.getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      got += piece.value.length;
      bar.value = total ? got / total : 0;
    }
    const speed = got / ((performance.now() - begun) / 1000);
    place.replaceChildren(
      make("p", {}, badge(response.headers.get("cache-status")), ` ${megabytes(got)} at ${megabytes(speed)}/s`),
      make("span", { className: "raw" }, response.headers.get("cache-status") ?? ""),
    );
  } catch (error) {
    place.textContent = error.name === "AbortError" ? `Stopped after ${megabytes(got)}.` : error.message;
  } finally {
    download = null;
    button.textContent = "Fetch 64 MB";
  }
}

async function fetchRange() {
  const got = await ask("/large?mb=64", { headers: { range: "bytes=1000-1999" } });
  at("large").replaceChildren(
    make("p", {}, `${got.status}, ${got.headers.get("content-range") ?? "no Content-Range"} `, badge(got.cacheStatus)),
    make("span", { className: "raw" }, got.cacheStatus ?? ""),
  );
}

// The API

async function callApi(path) {
  const got = await ask(path, path === "/api/echo" ? { method: "POST", body: "A few words." } : {});
  const age = got.age ? `, ${got.age} s old` : "";
  at("api-line").replaceChildren(`${path}: ${got.status} in ${milliseconds(got.ms)}${age} `, badge(got.cacheStatus));
  at("api").textContent = got.text;
}

function start() {
  const click = (id, place, work) => at(id).addEventListener("click", () => busy(at(id), at(place), work));
  click("twice-run", "twice-status", askTwice);
  click("crowd-run", "crowd", sendCrowd);
  click("old-run", "old", breakOrigin);
  click("upload-run", "upload", () => upload(noise(32 << 20)));
  click("range-run", "large", fetchRange);
  at("large-run").addEventListener("click", fetchLarge);
  at("events-run").addEventListener("click", toggleEvents);
  const submit = (id, work) => at(id).addEventListener("submit", (event) => {
    event.preventDefault();
    work(event.submitter);
  });
  submit("slow-form", (button) => busy(button, at("slow"), fetchSlow));
  submit("ws-form", sendMessage);
  at("upload-file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) busy(at("upload-run"), at("upload"), () => upload(file));
  });
  for (const button of document.querySelectorAll("[data-api]")) {
    button.addEventListener("click", () => busy(button, at("api"), () => callApi(button.dataset.api)));
  }
  showVisit();
  busy(at("twice-run"), at("twice-status"), async () => {
    await showPage();
    await askTwice();
  });
}

if (at("twice")) start();
