// The chat. After a broken line, the WebSocket comes back and continues after the last message.

const chat = document.querySelector(".chat");
const log = document.getElementById("log");
const enter = document.getElementById("enter");
const say = document.getElementById("say");
const problem = document.getElementById("problem");
let socket = null;
let last = null; // the id of the last message
let received = 0;
let holes = 0;
let brokenAt = null;

function show(name, text) {
  const line = document.createElement("li");
  if (name) {
    const speaker = document.createElement("b");
    speaker.textContent = name;
    line.append(speaker);
  } else {
    line.className = "news";
  }
  line.append(text);
  log.append(line);
  log.scrollTop = log.scrollHeight;
}

function count(id) {
  const [epoch, number] = id.split("-");
  const [oldEpoch, oldNumber] = (last ?? "").split("-");
  if (epoch === oldEpoch && Number(number) !== Number(oldNumber) + 1) holes += 1;
  last = id;
  received += 1;
  document.getElementById("count").textContent = `${received} message${received === 1 ? "" : "s"}, ${holes} holes.`;
}

function receive(message) {
  if (message.gap) {
    show("", `Some messages are gone (${message.gap}).`);
    last = message.id ?? last;
    return;
  }
  count(message.id);
  show(message.data.name, message.data.text);
}

function connect() {
  const address = new URL(chat.dataset.live, location);
  address.protocol = location.protocol.replace("http", "ws");
  address.searchParams.set("name", enter.elements.name.value);
  address.searchParams.set("after", last ?? "0");
  socket = new WebSocket(address);
  socket.onopen = () => {
    if (brokenAt) show("", `Connected again after ${Math.round(performance.now() - brokenAt)} ms.`);
    brokenAt = null;
    problem.textContent = "";
  };
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = (event) => {
    if (event.code === 1008) {
      problem.textContent = event.reason || "You are sending too fast.";
    }
    brokenAt ??= performance.now();
    setTimeout(connect, 200 + Math.random() * 300);
  };
}

function start() {
  enter.hidden = true;
  say.hidden = log.hidden = false;
  connect();
}

enter.addEventListener("submit", (event) => {
  event.preventDefault();
  start();
  say.elements.text.focus();
});

say.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = say.elements.text.value.trim();
  if (!text) return;
  if (socket.readyState !== WebSocket.OPEN) {
    problem.textContent = "Not connected. Your text is still here; send it again in a moment.";
    return;
  }
  socket.send(text);
  say.elements.text.value = "";
});

const here = new Map();
const people = new EventSource(chat.dataset.people);
function showPeople() {
  const names = [...here.keys()].sort();
  document.getElementById("people").textContent = names.length ? `Here: ${names.join(", ")}.` : "Nobody is here yet.";
}
people.addEventListener("snapshot", (event) => {
  here.clear();
  for (const [user, devices] of Object.entries(JSON.parse(event.data).users)) here.set(user, devices.length);
  showPeople();
});
for (const kind of ["join", "leave"]) {
  people.addEventListener(kind, (event) => {
    const { user, connections } = JSON.parse(event.data);
    if (connections) here.set(user, connections);
    else here.delete(user);
    showPeople();
  });
}

if (enter.hidden) start();
