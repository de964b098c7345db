"use strict";

// An answer is first kept in this browser, then sent until the server has it, and only then does the page move on.

const work = document.getElementById("work");
const said = document.getElementById("said");
const meta = (name) => document.querySelector(`meta[name=${name}]`)?.content;
const kept = `guerdon label ${meta("person")} `;
let busy = false;
let shownAt = performance.now();

if (work) start();
else if (location.search) history.replaceState(null, "", "/"); // the token leaves the address

function start() {
  work.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.choice) answer(button.dataset.choice);
    else if (button && "undo" in button.dataset) undo();
  });
  document.addEventListener("keydown", onKey);
  shown();
  deliverKept();
}

// What was kept before this page was loaded. Another tab may be sending it as well: the server takes it once.
async function deliverKept() {
  for (const name of Object.keys(localStorage).filter((name) => name.startsWith(kept))) {
    await deliver(name, JSON.parse(localStorage.getItem(name)));
  }
}

function onKey(event) {
  const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || typing) return;
  if (!document.getElementById("keys").checked) return;
  const left = state().left;
  const right = left === "first" ? "second" : "first";
  const keys = { 1: left, ArrowLeft: left, 2: right, ArrowRight: right, t: "tie", s: "skip" };
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "u") undo();
  else if (key === "p") document.getElementById("play")?.click();
  else if (key in keys) answer(keys[key]);
  else return;
  event.preventDefault();
}

function state() {
  return document.getElementById("state").dataset;
}

function answer(choice) {
  const { pair, left } = state();
  if (busy || !pair) return;
  const id = [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");
  keep({ path: "/answer", body: { answer: id, pair, choice, left, seconds: (performance.now() - shownAt) / 1000 } });
}

function undo() {
  const { last } = state();
  if (!busy && last) keep({ path: "/undo", body: { answer: last } });
}

function keep(message) {
  const name = `${kept}${message.path} ${message.body.answer}`;
  try {
    localStorage.setItem(name, JSON.stringify(message));
  } catch {
    // a browser that keeps nothing still sends
  }
  deliver(name, message);
}

async function deliver(name, { path, body }) {
  const headers = { "Content-Type": "application/json", "X-CSRF": meta("csrf") };
  const options = { method: "POST", headers, body: JSON.stringify(body) };
  if (await ask(path, options, "Your answer is kept here and sent again.")) localStorage.removeItem(name);
}

// Asks until there is an answer, and shows what it holds. False if the same may be asked again after a new sign-in.
async function ask(path, options, comfort) {
  busy = true;
  for (const button of work.querySelectorAll(".actions button")) button.disabled = true;
  for (let wait = 250; ; wait = Math.min(2 * wait, 4000)) {
    let reply;
    try {
      reply = await fetch(path, { ...options, signal: AbortSignal.timeout(15000) });
    } catch {
      reply = null;
    }
    if (reply?.ok) {
      const inside = await reply.text().catch(() => null);
      if (inside !== null) {
        said.textContent = "";
        work.innerHTML = inside; // made by the server, where every text is escaped
        busy = false;
        shown();
        return true;
      }
    } else if (reply && reply.status < 500 && reply.status !== 429) {
      return refused(reply);
    }
    said.textContent = `The server does not answer. ${comfort}`;
    await new Promise((done) => setTimeout(done, wait));
  }
}

async function refused(reply) {
  const link = document.createElement("a");
  link.href = "/";
  const signedOut = reply.status === 401 || reply.status === 403;
  link.textContent = signedOut ? "Sign in again; your answer is kept here." : "Load the page again.";
  said.replaceChildren(`The server refuses this: ${(await reply.text()).slice(0, 200)}. `, link);
  return !signedOut;
}

function shown() {
  shownAt = performance.now();
  const { pair, again } = state();
  work.querySelector("h2[tabindex]")?.focus({ preventScroll: true });
  if (pair && work.querySelector("[data-replay]")) play();
  if (again !== undefined) {
    const here = document.getElementById("state");
    setTimeout(() => {
      if (!busy && document.getElementById("state") === here) ask("/pair", {}, "This page asks again.");
    }, 3000);
  }
}

// Plays both recordings on one clock; the shorter one stays at its end.
async function play() {
  const here = document.getElementById("state");
  const sides = await Promise.all([...work.querySelectorAll("[data-replay]")].map(load));
  if (document.getElementById("state") !== here || sides.includes(null)) return;
  const [button, slider, clock, speed] = ["play", "at", "clock", "speed"].map((id) => document.getElementById(id));
  const length = Math.max(...sides.map((side) => side.times.at(-1)), 0.001);
  let at = 0;
  let last = null;
  const draw = () => {
    for (const side of sides) side.show(at);
    slider.value = Math.round((1000 * at) / length);
    clock.textContent = `${at.toFixed(1)} / ${length.toFixed(1)} s`;
    button.textContent = last === null ? "▶" : "⏸";
  };
  const step = (now) => {
    if (document.getElementById("state") !== here || last === null) return;
    at = Math.min(length, at + (Math.max(0, now - last) / 1000) * Number(speed.value));
    last = at < length ? now : null;
    draw();
    if (last !== null) requestAnimationFrame(step);
  };
  const run = () => {
    if (at >= length) at = 0;
    last = performance.now();
    requestAnimationFrame(step);
  };
  button.addEventListener("click", () => {
    if (last === null) run();
    else last = null;
    draw();
  });
  slider.addEventListener("input", () => {
    last = null;
    at = (slider.value / 1000) * length;
    draw();
  });
  button.closest(".transport").hidden = false;
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) run();
  draw();
}

async function load(place) {
  let found;
  try {
    const reply = await fetch(place.dataset.replay);
    if (!reply.ok) throw new Error(await reply.text());
    found = await reply.json();
  } catch (error) {
    place.textContent = `This recording cannot be shown: ${error.message}`;
    return null;
  }
  const paint = found.kind === "terminal" ? terminal(place, found) : pictures(place, found);
  let before = -1;
  const show = (at) => {
    let frame = found.times.findLastIndex((time) => time <= at);
    frame = Math.max(frame, 0);
    if (frame !== before) paint(frame);
    before = frame;
  };
  show(0);
  return { times: found.times, show };
}

function pictures(place, { frames }) {
  const image = document.createElement("img");
  image.alt = "";
  place.replaceChildren(image);
  return (frame) => {
    image.src = frames[frame];
  };
}

function terminal(place, { width, height, frames }) {
  const lines = Array.from({ length: height }, () => document.createElement("div"));
  const screen = document.createElement("div");
  screen.className = "screen";
  screen.style.setProperty("--columns", width);
  screen.append(...lines);
  place.replaceChildren(screen);
  const whole = []; // of each frame all rows; those that did not change are shared
  let rows = lines.map(() => []);
  for (const changes of frames) {
    rows = rows.map((row, y) => changes[y] ?? row);
    whole.push(rows);
  }
  const drawn = lines.map(() => null);
  return (frame) => {
    whole[frame].forEach((row, y) => {
      if (row !== drawn[y]) lines[y].replaceChildren(...row.map(run));
      drawn[y] = row;
    });
  };
}

function run([text, ink, ground, bold, underlined, inverse]) {
  const span = document.createElement("span");
  span.textContent = text;
  if (typeof ink === "number") span.classList.add(`i${ink}`);
  else if (ink) span.style.color = ink;
  if (typeof ground === "number") span.classList.add(`g${ground}`);
  else if (ground) span.style.background = ground;
  if (bold) span.classList.add("bold");
  if (underlined) span.classList.add("under");
  if (inverse) span.classList.add("inverse");
  return span;
}
