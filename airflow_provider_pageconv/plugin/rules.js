// What Airflow's records say of exports: pure rules, no request and no element of a page. Times are milliseconds since 1970.

const HOUR = 3600_000;

export const LIVE = ["running", "deferred", "up_for_reschedule", "up_for_retry", "queued", "scheduled", "restarting"];
export const FAILED = ["failed", "upstream_failed"];
export const OPERATOR = "PageConversationsToObjectStorageOperator";
export const PROGRESS_KEY = "pageconv_progress";

const COUNTS = [
  "conversations", "messages", "messages_unavailable", "messages_undated", "conversations_unavailable",
  "conversations_incomplete", "conversations_carried", "messages_carried", "messages_gone", "files", "bytes", "api_calls",
  "waited_seconds",
];

// A window that is still being waited for may be this late before anybody is told: runs begin after their window has settled.
const LEAST_GRACE = HOUR;
const GRACE_SHARE = 0.25;

/** A time as Airflow, our operator or Jinja write it; null where there is none, or it cannot be read. */
export function parseTime(text) {
  if (typeof text !== "string" || !text || text === "None") return null;
  const time = Date.parse(text.trim().replace(/^(\d{4}-\d{2}-\d{2}) /, "$1T"));
  return Number.isNaN(time) ? null : time;
}

export const keyOf = (dagId, runId, taskId, mapIndex) => JSON.stringify([dagId, runId, taskId, Number(mapIndex ?? -1)]);

const isSummary = (value) =>
  value !== null && typeof value === "object" && typeof value.page_id === "string" && Array.isArray(value.manifests) &&
  value.folders !== null && typeof value.folders === "object";

function exportOf(summary, where, at) {
  const counts = Object.fromEntries(COUNTS.map((name) => [name, Number(summary[name] ?? 0)]));
  return {
    ...where,
    key: keyOf(where.dagId, where.runId, where.taskId, where.mapIndex),
    state: "published",
    pageId: summary.page_id,
    platform: summary.platform ?? "messenger",
    destination: summary.destination ?? "",
    since: parseTime(summary.since),
    until: parseTime(summary.until),
    startedAt: parseTime(summary.started_at),
    finishedAt: parseTime(summary.finished_at) ?? at,
    at,
    folders: summary.folders,
    manifests: summary.manifests,
    warnings: Array.isArray(summary.warnings) ? summary.warnings : [],
    ...counts,
    withheld: counts.messages_unavailable + counts.messages_undated,
  };
}

/** The export that an asset event tells of; null for another's event. */
export function exportOfEvent(event) {
  if (!isSummary(event.extra)) return null;
  const where = {
    dagId: event.source_dag_id, runId: event.source_run_id, taskId: event.source_task_id, mapIndex: event.source_map_index ?? -1,
  };
  return exportOf(event.extra, where, parseTime(event.timestamp));
}

/** The export that a task's result tells of; null where it tells of none. */
export function exportOfResult(instance, value) {
  const summary = typeof value === "string" ? parseJson(value) : value;
  if (!isSummary(summary)) return null;
  const where = {
    dagId: instance.dag_id, runId: instance.dag_run_id, taskId: instance.task_id, mapIndex: instance.map_index ?? -1,
  };
  return exportOf(summary, where, parseTime(instance.end_date));
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Whether a task instance is one of ours. */
export const isOurs = (instance) => (instance.operator_name ?? instance.operator ?? "").includes(OPERATOR);

/**
 * An export that is under way, or failed: what its task instance says of it.
 *
 * @param pages which Page an earlier export of the same task was of: where the connection names it, no rendered field does.
 */
export function attemptOf(instance, progress = null, pages = new Map()) {
  const fields = instance.rendered_fields ?? {};
  const task = JSON.stringify([instance.dag_id, instance.task_id, instance.map_index ?? -1]);
  const rendered = (name) => (fields[name] && fields[name] !== "None" ? String(fields[name]) : null);
  return {
    dagId: instance.dag_id,
    runId: instance.dag_run_id,
    taskId: instance.task_id,
    mapIndex: instance.map_index ?? -1,
    key: keyOf(instance.dag_id, instance.dag_run_id, instance.task_id, instance.map_index),
    label: instance.rendered_map_index ?? null,
    state: FAILED.includes(instance.state) ? "failed" : "under way",
    taskState: instance.state,
    tries: instance.try_number,
    pageId: progress?.page_id ?? rendered("page_id") ?? pages.get(task) ?? null,
    platform: (progress?.platform ?? rendered("platform") ?? "messenger").toLowerCase(),
    destination: withoutConnection(progress?.destination ?? rendered("destination") ?? ""),
    since: parseTime(progress?.since ?? rendered("since")),
    until: parseTime(progress?.until ?? rendered("until")),
    startedAt: parseTime(progress?.began) ?? parseTime(instance.start_date),
    endedAt: parseTime(instance.end_date),
    folders: foldersOf(fields.folders),
    // A task that has only just begun has nothing rendered yet: whether it has a window nobody can tell.
    isKnown: Object.keys(fields).length > 0 || Boolean(progress?.page_id),
    progress,
  };
}

/** Which Page each task exported last, for those whose connection names it. */
export function pagesOfTasks(exports) {
  const pages = new Map();
  for (const one of exports) {
    const task = JSON.stringify([one.dagId, one.taskId, one.mapIndex]);
    if (!pages.has(task)) pages.set(task, one.pageId);
  }
  return pages;
}

function foldersOf(value) {
  const folders = typeof value === "string" ? parseJson(value.replaceAll("'", '"').replace(/^\((.*?),?\)$/, "[$1]")) : value;
  return Array.isArray(folders) && folders.length ? folders.map(String) : null;
}

const withoutConnection = (destination) => destination.replace(/:\/\/[^/@]+@/, "://");

/** Each export once: a task with several outlets tells of one export several times. */
export function eachOnce(exports) {
  const seen = new Map();
  for (const one of exports) if (!seen.has(one.key)) seen.set(one.key, one);
  return [...seen.values()];
}

// ---- the strip

/** Parts of [from, to) that none of some sorted intervals covers. */
export function uncovered(from, to, intervals) {
  const left = [];
  let at = from;
  for (const [begin, end] of intervals) {
    if (end <= at) continue;
    if (begin >= to) break;
    if (begin > at) left.push([at, Math.min(begin, to)]);
    at = Math.max(at, end);
    if (at >= to) return left;
  }
  if (at < to) left.push([at, to]);
  return left;
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/**
 * The rows of the strip: what is published of each folder of each Page, under way, failed, late, and missing.
 *
 * A window without a beginning reaches back to where the strip begins, a dump up to the moment when it was begun.
 *
 * @returns rows in the order of Page, platform, destination, each with its folders, each with cells in the order of their time:
 *   {from, to, state, one}; `one` is the export or the attempt, null for what is late or missing.
 */
export function rowsOf(exports, attempts, from, now) {
  const rows = new Map();
  const rowOf = (one) => {
    const key = JSON.stringify([one.pageId, one.platform, one.destination]);
    if (!rows.has(key)) rows.set(key, { key, pageId: one.pageId, platform: one.platform, destination: one.destination, byFolder: new Map() });
    return rows.get(key);
  };
  for (const one of exports) {
    for (const folder of Object.keys(one.folders)) push(rowOf(one).byFolder, folder, one);
  }
  for (const one of attempts) {
    if (one.pageId === null || !one.isKnown) continue;
    const row = rowOf(one);
    const folders = one.folders ?? (row.byFolder.size ? [...row.byFolder.keys()] : ["all"]);
    for (const folder of folders) push(row.byFolder, folder, one);
  }
  return [...rows.values()]
    .map(({ byFolder, ...row }) => ({
      ...row,
      folders: [...byFolder]
        .map(([folder, ones]) => ({ folder, cells: cellsOf(ones, from, now) }))
        .sort((a, b) => order(a.folder) - order(b.folder) || a.folder.localeCompare(b.folder)),
    }))
    .sort((a, b) => a.pageId.localeCompare(b.pageId) || a.platform.localeCompare(b.platform) || a.destination.localeCompare(b.destination));
}

const FOLDER_ORDER = ["inbox", "other", "page_done", "spam"];
const order = (folder) => (FOLDER_ORDER.includes(folder) ? FOLDER_ORDER.indexOf(folder) : FOLDER_ORDER.length);

function push(map, key, value) {
  if (!map.has(key)) map.set(key, []);
  map.get(key).push(value);
}

const endOf = (one, now) => one.until ?? one.startedAt ?? one.at ?? now;

function cellsOf(ones, from, now) {
  const published = ones.filter((one) => one.state === "published");
  const cells = published.map((one) => ({ from: one.since ?? from, to: endOf(one, now), state: "published", one }));
  const windows = published.filter((one) => one.since !== null && one.until !== null);
  const covered = cells.map((cell) => [cell.from, cell.to]).sort((a, b) => a[0] - b[0]);
  const newestFirst = ones.filter((one) => one.state !== "published").sort((a, b) => (b.startedAt ?? 0) - (a.startedAt ?? 0));
  const taken = [...covered];
  for (const state of ["under way", "failed"]) {
    for (const one of newestFirst.filter((attempt) => attempt.state === state)) {
      const begin = one.since ?? from;
      for (const [left, right] of uncovered(begin, Math.max(endOf(one, now), begin), taken)) {
        cells.push({ from: left, to: right, state, one });
        taken.push([left, right]);
        taken.sort((a, b) => a[0] - b[0]);
      }
    }
  }
  if (taken.length) {
    const first = Math.min(...taken.map((interval) => interval[0]));
    const last = Math.max(...taken.map((interval) => interval[1]));
    cells.push(...uncovered(first, last, taken).map(([left, right]) => ({ from: left, to: right, state: "missing", one: null })));
    cells.push(...late(windows, last, now));
  }
  return cells.filter((cell) => cell.to > from).sort((a, b) => a.from - b.from || a.to - b.to);
}

/** Windows of the usual length that should have been exported by now, and of which nobody has begun one. */
function late(windows, last, now) {
  if (windows.length < 2) return [];
  const newest = [...windows].sort((a, b) => a.until - b.until).slice(-10);
  const length = median(newest.map((one) => one.until - one.since));
  const grace = Math.max(LEAST_GRACE, GRACE_SHARE * length);
  const cells = [];
  for (let begin = last; begin + length + grace <= now && cells.length < 1000; begin += length) {
    cells.push({ from: begin, to: begin + length, state: "late", one: null });
  }
  return cells;
}

/** A Page's folders in one line: of what lies at the same place the worst. */
export function merged(folders) {
  const worst = ["missing", "late", "failed", "under way", "published"];
  const cells = new Map();
  for (const { cells: own } of folders) {
    for (const cell of own) {
      const key = `${cell.from}/${cell.to}`;
      const before = cells.get(key);
      if (!before || worst.indexOf(cell.state) < worst.indexOf(before.state)) cells.set(key, cell);
    }
  }
  return [...cells.values()].sort((a, b) => a.from - b.from || a.to - b.to);
}

/** How many windows are missing, late or failed in some rows: each window of a Page once, however many folders it has. */
export function troubles(rows) {
  const counts = { missing: 0, late: 0, failed: 0 };
  for (const row of rows) for (const cell of merged(row.folders)) if (cell.state in counts) counts[cell.state] += 1;
  return counts;
}

// ---- the table

/** Sorted by a column; what has no value comes last, whichever way it is sorted. */
export function sorted(rows, column, descending) {
  const value = (row) => (typeof column === "function" ? column(row) : row[column]);
  return [...rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || x === undefined) return y === null || y === undefined ? 0 : 1;
    if (y === null || y === undefined) return -1;
    const way = typeof x === "string" ? x.localeCompare(y) : x - y;
    return descending ? -way : way;
  });
}

export const durationOf = (one) => (one.startedAt !== null && one.finishedAt !== null ? (one.finishedAt - one.startedAt) / 1000 : null);

/** Messages by window of some exports, for bars: one for each end of a window, in the order of time. */
export function barsOf(exports) {
  const bars = new Map();
  for (const one of exports) {
    if (one.since === null || one.until === null) continue;
    const key = `${one.since}/${one.until}`;
    const bar = bars.get(key) ?? { from: one.since, to: one.until, messages: 0 };
    bar.messages += one.messages;
    bars.set(key, bar);
  }
  return [...bars.values()].sort((a, b) => a.from - b.from);
}

// ---- words

const two = (number) => String(number).padStart(2, "0");

export function day(time) {
  const date = new Date(time);
  return `${date.getUTCFullYear()}-${two(date.getUTCMonth() + 1)}-${two(date.getUTCDate())}`;
}

export function minute(time) {
  const date = new Date(time);
  return `${day(time)} ${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`;
}

export function clock(time, now) {
  const date = new Date(time);
  const text = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())} UTC`;
  return day(time) === day(now) ? text : `${day(time)} ${text}`;
}

const isMidnight = (time) => time % (24 * HOUR) === 0;

/** A window as people read it, without what is the same in both ends. */
export function windowText(since, until) {
  if (since === null && until === null) return "everything";
  const text = (time) => (isMidnight(time) ? day(time) : minute(time));
  if (since === null) return `before ${text(until)}`;
  if (until === null) return `from ${text(since)}`;
  if (isMidnight(since) && until - since === 24 * HOUR) return day(since);
  if (day(since) === day(until - 1)) {
    const end = new Date(until);
    return `${minute(since)}–${isMidnight(until) ? "24:00" : `${two(end.getUTCHours())}:${two(end.getUTCMinutes())}`}`;
  }
  const end = text(until);
  return `${text(since)} – ${day(since).slice(0, 5) === end.slice(0, 5) ? end.slice(5) : end}`;
}

export function number(value) {
  return value === null || value === undefined ? "–" : value.toLocaleString("en-US");
}

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  let [value, unit] = [count, "B"];
  for (const next of ["kB", "MB", "GB", "TB"]) {
    if (value < 1000) break;
    [value, unit] = [value / 1000, next];
  }
  return `${unit === "B" || value >= 100 ? Math.round(value) : value.toFixed(1)} ${unit}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 180) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  const [hours, rest] = [Math.floor(minutes / 60), minutes % 60];
  if (hours >= 48) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  return [hours ? `${hours} h` : "", rest ? `${rest} min` : ""].filter(Boolean).join(" ");
}

export const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

/** Whether a warning is about an export's folder, or, without one, whether there is any. */
export const isWarned = (one, folder = null) =>
  one.warnings.some((warning) => folder === null || warning.startsWith(`${folder}: `));

/** What of an export is not as one would wish, in words; empty where there is nothing. */
export function withheldWords(one) {
  return [
    [one.messages_unavailable, "came without details"],
    [one.messages_undated, "had no time and were left out"],
    [one.conversations_unavailable, one.conversations_unavailable === 1 ? "conversation was gone half-way" : "conversations were gone half-way"],
    [one.conversations_incomplete, one.conversations_incomplete === 1 ? "conversation is incomplete" : "conversations are incomplete"],
  ].filter(([count]) => count).map(([count, words]) => `${number(count)} ${words}`);
}

export const carriedWords = (one) =>
  one.messages_carried || one.conversations_carried
    ? `${number(one.messages_carried)} messages carried over${one.messages_gone ? `, ${number(one.messages_gone)} of them gone from the API` : ""}`
    : null;
