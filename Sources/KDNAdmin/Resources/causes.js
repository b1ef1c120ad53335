// Why a lookup found nothing: what each cause means, and what an operator can do.

import { CAUSES } from "./charts.js";
import { count, ratio, words } from "./format.js";
import { bar } from "./bars.js";

const explanations = {
  never_stored: [
    "Nobody has stored this key, as far as is known.",
    "Usual for new prompts. If prompts repeat, check that engines store what they compute, in the "
      + "namespace and under the model they look in.",
  ],
  evicted: [
    "It was here and made room for others, in RAM and on disk.",
    "Give more room (ram, disk), or raise the tenant's quota if that is what was full; pin "
      + "prefixes that everybody shares.",
  ],
  expired: [
    "Its time to live ended.",
    "Store with a longer TTL, or touch what is in use.",
  ],
  wrong_layout: [
    "The chunk is here, but for another layout, part or variant.",
    "Look for engines with different models, data types or tensor parallelism; only equal "
      + "layouts share.",
  ],
  over_deadline: [
    "It was not stored, or not read from disk, before the deadline of the request.",
    "Look at disk latency and the slow requests below; allow a longer deadline, or prefetch.",
  ],
  corrupt: [
    "Its bytes failed their checksum and were dropped.",
    "Check the disk under Disk health; the object is stored anew when it is next computed.",
  ],
  not_ready: [
    "The disk tier was still finding out what it holds.",
    "Passes when recovery ends; see Readiness.",
  ],
  purged: ["It was dropped on request.", "Expected after a purge; see Events for who ordered it."],
  over_credit: [
    "One GET asked for more bytes than its connection may have in flight, or than fit in RAM.",
    "Ask in smaller batches, or raise the connection's credit.",
  ],
  recompute: [
    "It could not be delivered by the deadline that the client named, so it computes it again.",
    "Look at the connection's speed; a shorter codec (codec_ram, codec_disk) brings more in time.",
  ],
  inexact: [
    "It is kept in a lossy codec only, and the client asked for the very bytes.",
    "Keep this tenant's objects in exact or off, or let its clients take what is kept.",
  ],
  undecodable: [
    "It is kept in a codec that the client does not read, and cannot be decoded here now.",
    "Look for its profile: it must be stored in the same namespace.",
  ],
};

const element = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
};

// Shows the causes that occurred, the most frequent first.
export function drawCauses(misses) {
  const known = Object.entries(misses).filter(([, total]) => total > 0);
  known.sort(([, left], [, right]) => right - left);
  const all = known.reduce((sum, [, total]) => sum + total, 0);
  document.getElementById("causes-empty").hidden = known.length > 0;
  const rows = known.map(([cause, total]) => {
    const [meaning, remedy] = explanations[cause] ?? ["A cause that this page does not know.", ""];
    const row = element("li");
    const head = element("div", "cause-head");
    const often = element("span", "", `${count(total)} · ${ratio(total / all)}`);
    head.append(element("b", "", words(cause)), often);
    const order = CAUSES.indexOf(cause);
    const place = order < 0 ? CAUSES.length : order;
    const label = `${words(cause)}: share of misses`;
    const share = bar({ share: total / all, place, label });
    row.append(head, share, element("p", "", meaning), element("p", "remedy", remedy));
    return row;
  });
  document.getElementById("causes").replaceChildren(...rows);
}
