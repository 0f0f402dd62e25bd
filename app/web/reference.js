// Every call of the API as one table, from its own OpenAPI document.
import { make } from "/web/dom.js";
import { read } from "/web/api.js";

const document_ = await read("/openapi.json");
const rows = Object.entries(document_.paths).flatMap(([path, calls]) => Object.entries(calls).map(([method, call]) =>
  make("tr", {}, make("td", {}, make("code", {}, method.toUpperCase())), make("td", {}, make("code", {}, path)),
    make("td", {}, call.description || call.summary || ""))));
const heads = ["", "path", "what it does"].map((text) => make("th", { scope: "col" }, text));
document.getElementById("main").replaceChildren(make("h1", {}, "API"),
  make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)));
