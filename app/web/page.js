// The page: a list of jobs at #/, one job at #/jobs/<id>. It reads the public API and nothing else.
import { Problem, blobUrl, call, post, read, setKey } from "/web/api.js";
import { fileName, make, number } from "/web/dom.js";

const main = document.getElementById("main");
const FINAL = new Set(["succeeded", "failed", "cancelled"]);
let visit = 0; // a view that is no longer looked at stops refreshing

window.addEventListener("hashchange", show);
document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(document.getElementById("key").value);
  show();
});
show();

async function show() {
  const mine = ++visit;
  const id = /^#\/jobs\/(job_[0-9a-f]{32})$/.exec(location.hash)?.[1];
  try {
    await (id ? showJob(id, mine) : showJobs(mine));
  } catch (error) {
    if (error instanceof Problem && error.status === 401) document.getElementById("key-form").hidden = false;
    main.replaceChildren(alertBox(error));
  }
}

function alertBox(error) {
  return make("p", { class: "alert", role: "alert" }, `${error.code || "Error"}: ${error.message}`);
}

async function showJobs(mine) {
  const [methods, items] = await Promise.all([read("/v1/methods"), recentJobs()]);
  const page = { items };
  if (mine !== visit) return;
  main.replaceChildren(submitForm(methods.items), make("h1", {}, "Jobs"), jobTable(page.items));
  if (page.items.some((job) => !FINAL.has(job.state))) again(mine, () => refreshTable(mine));
}

async function recentJobs() {
  const page = await read("/v1/jobs?page_size=100");
  return page.items.filter((job) => job.kind !== "list");
}

async function refreshTable(mine) {
  const page = { items: await recentJobs() };
  if (mine !== visit) return;
  main.querySelector("table")?.replaceWith(jobTable(page.items));
  if (page.items.some((job) => !FINAL.has(job.state))) again(mine, () => refreshTable(mine));
}

function again(mine, action) {
  setTimeout(() => { if (mine === visit) action().catch(() => again(mine, action)); }, 1000);
}

function jobTable(jobs) {
  if (!jobs.length) return make("p", {}, "No job yet. Name a folder above, or POST one to /v1/jobs.");
  const rows = jobs.map((job) => make("tr", {},
    make("td", {}, make("a", { href: `#/jobs/${job.id}` }, job.id.slice(4, 16))),
    make("td", {}, state(job)),
    make("td", {}, job.request.selection?.method || job.kind),
    make("td", {}, number(job.counts?.selected)),
    make("td", {}, number(job.counts?.input)),
    make("td", {}, new Date(job.created_at).toLocaleString())));
  const heads = ["job", "state", "method", "selected", "of", "created"].map((text) => make("th", { scope: "col" }, text));
  return make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
}

function state(job) {
  const share = job.state === "running" ? ` ${Math.round(100 * job.progress.fraction)} %` : "";
  return make("span", { class: `state ${job.state}` }, job.state + share);
}

function submitForm(methods) {
  const options = methods.map((method) => make("option", { value: method.name, title: method.summary }, method.name));
  const problem = make("p", { class: "alert", role: "alert", hidden: true });
  const form = make("form", { class: "submit", onsubmit: submit },
    make("label", {}, "Folder ", make("input", { name: "path", required: true, placeholder: "/data/yard", size: 32 })),
    make("label", {}, "Method ", make("select", { name: "method" }, ...options)),
    make("label", {}, "Keep ", make("input", { name: "share", type: "number", value: 10, min: 0.01, max: 100, step: "any" }), " %"),
    make("label", {}, "Seed ", make("input", { name: "seed", type: "number", value: 0, min: 0 })),
    make("button", {}, "Filter"), problem);
  return form;

  async function submit(event) {
    event.preventDefault();
    const fields = new FormData(form);
    try {
      const job = await post("/v1/jobs", {
        dataset: { source: { type: "folder", path: fields.get("path") } },
        selection: { method: fields.get("method"), target: { fraction: Number(fields.get("share")) / 100 } },
        seed: Number(fields.get("seed")),
      });
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      problem.hidden = false;
      problem.textContent = `${error.code}: ${error.message}`;
    }
  }
}

async function showJob(id, mine) {
  const job = await read(`/v1/jobs/${id}`);
  if (mine !== visit) return;
  if (!FINAL.has(job.state)) {
    main.replaceChildren(heading(job), progressOf(job), button("Cancel", () => post(`/v1/jobs/${id}:cancel`).then(show)));
    again(mine, () => showJob(id, mine));
    return;
  }
  const outcome = job.state === "succeeded" ? await result(job) : failure(job);
  if (mine === visit) main.replaceChildren(heading(job), outcome, removal(job));
}

function heading(job) {
  return make("h1", {}, `${job.request.selection?.method || job.kind} `, state(job));
}

function progressOf(job) {
  const bars = job.progress.stages.map((stage) => make("tr", {},
    make("th", { scope: "row" }, stage.name),
    make("td", {}, make("progress", { max: stage.total || 1, value: stage.done, "aria-label": stage.name })),
    make("td", {}, `${number(stage.done)} of ${number(stage.total)}`),
    make("td", {}, stage.rate_per_s ? `${number(stage.rate_per_s)}/s` : "")));
  const left = job.progress.eta_s ? `about ${job.progress.eta_s} s left` : "";
  return make("div", {}, make("p", {}, `${Math.round(100 * job.progress.fraction)} % ${left}`), make("table", {}, ...bars));
}

function failure(job) {
  if (!job.error) return make("p", {}, "This job was cancelled.");
  return make("div", { class: "alert", role: "alert" }, make("strong", {}, job.error.title || job.error.code),
    make("p", {}, job.error.detail), make("code", {}, job.error.code));
}

function removal(job) {
  return button("Delete this job", async () => {
    await call(`/v1/jobs/${job.id}`, { method: "DELETE" });
    location.hash = "#/";
  });
}

function button(text, action) {
  const element = make("button", { type: "button", class: "quiet", onclick: press }, text);
  return element;

  async function press() {
    element.disabled = true;
    await action().catch((error) => main.prepend(alertBox(error)));
    element.disabled = false;
  }
}

async function result(job) {
  const at = `/v1/jobs/${job.id}`;
  const facts = Object.entries(job.counts).filter(([, count]) => count !== null).map(([name, count]) =>
    make("div", {}, make("dt", {}, name.replace("_", " ")), make("dd", {}, number(count))));
  const setAside = () => paged(`${at}/quarantine`, job, setAsideRow, ["file", "code", "detail"]);
  if (job.kind !== "filter") {
    return make("div", {}, make("dl", { class: "facts" }, ...facts), downloads(at, job), make("h2", {}, "Set aside"), await setAside());
  }
  const insights = (await read(`${at}/insights`)).items;
  const plots = await Promise.all(insights.map(async (insight) => {
    const { title } = await read(insight.data);
    return make("figure", { class: insight.name }, make("img", { src: await blobUrl(insight.plots[0]), alt: title }), make("figcaption", {}, title));
  }));
  const { claim } = await read(`${at}/certificate`).catch(() => ({ claim: "" }));
  return make("div", {}, make("dl", { class: "facts" }, ...facts), make("p", { class: "claim" }, claim), downloads(at, job),
    make("h2", {}, "Kept, in order of worth"), await kept(at, job),
    make("h2", {}, "Why these"), make("div", { class: "plots" }, ...plots),
    make("h2", {}, "Removed"), await paged(`${at}/removed`, job, removedRow, ["file", "reason", "nearest kept", "distance"]),
    make("h2", {}, "Set aside"), await setAside());
}

function downloads(at, job) {
  const selected = ["selection.txt", "selection.csv", "selection.jsonl", "selection.parquet", "removed.jsonl"];
  const names = [...(job.kind === "filter" ? selected : ["embeddings.npy", "embeddings.parquet", "embeddings.ids"]), "manifest.json"];
  const links = names.map((name) => button(name, async () => {
    make("a", { href: await blobUrl(`${at}/artifacts/${name}`), download: name }).click();
  }));
  return make("p", { class: "downloads" }, ...links, make("code", { title: "digest" }, (job.digests.selection || job.digests.embedding).slice(0, 23)));
}

async function kept(at, job) {
  const lines = (await (await call(`${at}/selection?format=jsonl&limit=60`)).text()).trim();
  const samples = lines ? lines.split("\n").map((line) => JSON.parse(line)) : [];
  const cards = await Promise.all(samples.map(async (sample) => {
    const picture = await blobUrl(`${at}/thumbnails/${sample.sample_id}`).catch(() => null);
    return make("li", {}, picture ? make("img", { src: picture, alt: "", loading: "lazy" }) : null,
      make("span", { class: "rank" }, `#${sample.rank + 1}`), fileName(sample.path),
      make("span", { class: "distance" }, sample.insertion_distance === null ? "" : number(sample.insertion_distance)));
  }));
  const more = job.counts.selected > samples.length ? make("p", {}, `and ${number(job.counts.selected - samples.length)} more`) : null;
  return make("div", {}, make("ol", { class: "cards" }, ...cards), more);
}

function removedRow(item) {
  return [fileName(item.path), item.reason, fileName(item.nearest_kept_path), number(item.nearest_kept_distance)];
}

function setAsideRow(item) {
  return [fileName(item.path), item.code, item.detail];
}

async function paged(path, job, cells, titles) {
  const body = make("tbody");
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...titles.map((t) => make("th", { scope: "col" }, t)))), body);
  const more = make("button", { type: "button", class: "quiet", onclick: load }, "Show more");
  let token = null;
  await load();
  return body.children.length ? make("div", {}, table, more) : make("p", {}, "None.");

  async function load() {
    const page = await read(`${path}?page_size=25${token ? `&page_token=${encodeURIComponent(token)}` : ""}`);
    body.append(...page.items.map((item) => make("tr", {}, ...cells(item).map((cell) => make("td", {}, cell)))));
    token = page.next_page_token;
    more.hidden = token === null;
  }
}
