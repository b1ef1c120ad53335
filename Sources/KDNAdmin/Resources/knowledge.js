// Documents, blends of them, and jobs that wait for workers.

import { facts } from "./facts.js";
import * as format from "./format.js";

const show = (id, pairs) => document.getElementById(id).replaceChildren(facts(pairs));

function drawBlends(blends) {
  const refused = ["forbidden", "unknown", "unsuited", "missing", "busy", "without_room"]
    .reduce((sum, why) => sum + blends[`${why}_total`], 0);
  const { assembled_total: made, assemble_seconds_total: seconds } = blends;
  show("blends", [
    ["Assembled", format.count(made)],
    ["Their bytes", format.bytes(blends.assembled_bytes_total)],
    ["Took on average", format.microseconds(made > 0 ? (seconds / made) * 1e6 : null)],
    ["There already, or joined", format.count(blends.hits_total + blends.joined_total)],
    ["Refused", format.count(refused)],
    ["Under way", format.count(blends.under_way)],
  ]);
}

function drawJobs(work) {
  show("jobs", [
    ["Waiting", format.count(work.queued)],
    ["Running", format.count(work.running)],
    ["Workers that wait", format.count(work.waiting_workers)],
    ["Done", format.count(work.done_total)],
    ["Failed or expired", format.count(work.failed_total + work.expired_total)],
    ["Cancelled", format.count(work.cancelled_total)],
  ]);
}

export function drawKnowledge({ documents, blends, work }) {
  if (documents) {
    show("documents", [
      ["Known by name", format.count(documents.documents)],
      ["Edits of their KV", format.count(documents.edits)],
    ]);
  }
  if (blends) drawBlends(blends);
  if (work) drawJobs(work);
}
