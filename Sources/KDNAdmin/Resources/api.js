// What the page asks of the daemon; the token never leaves the tab or enters a URL.

const TOKEN = "kdn-token";
const TIMEOUT_MS = 8000;

// Knows the token that was refused: another one may have been entered since.
export class Unauthorised extends Error {
  constructor(used) {
    super("the daemon asks for a token");
    this.isStale = () => token.get() !== used;
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (text) => sessionStorage.setItem(TOKEN, text),
  clear: () => sessionStorage.removeItem(TOKEN),
};

const headers = () => (token.get() ? { Authorization: `Bearer ${token.get()}` } : {});

// Answers the JSON at a path. `accepted` names statuses that carry an answer beside 200.
export async function ask(path, accepted = []) {
  const used = token.get();
  const response = await fetch(path, {
    headers: headers(),
    cache: "no-store",
    credentials: "omit",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (response.status === 401) throw new Unauthorised(used);
  if (!response.ok && !accepted.includes(response.status)) {
    throw new Error(`the daemon answered ${response.status} to ${path}`);
  }
  return response.json();
}

// Calls `heard` with each event after `serial` until the stream ends or `signal` aborts it.
export async function listen(serial, heard, signal) {
  const used = token.get();
  const response = await fetch(`/events?after=${serial}`, {
    headers: { ...headers(), Accept: "text/event-stream" },
    cache: "no-store",
    credentials: "omit",
    signal,
  });
  if (response.status === 401) throw new Unauthorised(used);
  if (!response.ok || !response.body) throw new Error(`no events: ${response.status}`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block
        .split("\n")
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).trimStart());
      if (data.length > 0) heard(JSON.parse(data.join("\n")));
    }
  }
}
