// Speaks to the public API, with the key the person gave, which stays in this tab.

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.status = status;
    this.code = body.code || `HTTP_${status}`;
  }
}

export function setKey(key) {
  sessionStorage.setItem("winnow-key", key);
}

export async function call(path, options = {}) {
  const key = sessionStorage.getItem("winnow-key");
  const headers = { ...(key ? { Authorization: `Bearer ${key}` } : {}), ...(options.headers || {}) };
  const response = await fetch(path, { ...options, headers });
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
  return response;
}

export async function read(path) {
  return (await call(path)).json();
}

export async function post(path, body) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID() };
  return (await call(path, { method: "POST", headers, body: body === undefined ? undefined : JSON.stringify(body) })).json();
}

// A picture or a file as a blob URL, so that the key can travel in a header and never in an address.
export async function blobUrl(path) {
  return URL.createObjectURL(await (await call(path)).blob());
}
