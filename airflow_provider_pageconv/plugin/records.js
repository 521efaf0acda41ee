// What is asked of Airflow's REST API, with the user's own login and rights; nothing is asked of anybody else.

import {
  FAILED, LIVE, OPERATOR, PROGRESS_KEY, attemptOf, eachOnce, exportOfEvent, exportOfResult, isOurs, keyOf, pagesOfTasks,
} from "./rules.js";

const DAY = 24 * 3600_000;
const PAGE = 100;

/** Requests that looking at the page takes at the most; the progress of what is under way is asked for besides. */
export const MOST_REQUESTS = 20;
const MOST_PROGRESS = 12;
const MOST_DETAILS = 8;
const MOST_DAGS = 4;

export class ApiError extends Error {
  constructor(status, what) {
    super(
      status === 401 ? "You are not signed in: reload the page."
        : status === 403 ? `You have no right to read ${what}.`
          : status ? `Airflow answered ${status} when asked for ${what}.`
            : `Airflow could not be reached when asked for ${what}.`,
    );
    this.status = status;
  }
}

async function get(path, params, what) {
  const url = new URL(`api/v2/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== null && one !== undefined) url.searchParams.append(name, one);
  }
  let answer;
  try {
    answer = await fetch(url, { credentials: "same-origin", headers: { Accept: "application/json" } });
  } catch {
    throw new ApiError(0, what);
  }
  if (!answer.ok) throw new ApiError(answer.status, what);
  return answer.json();
}

const instancePath = ({ dagId, runId, taskId }) =>
  `dags/${encodeURIComponent(dagId)}/dagRuns/${encodeURIComponent(runId)}/taskInstances/${encodeURIComponent(taskId)}`;

function instances(dagId, params) {
  const dag = dagId ? encodeURIComponent(dagId) : "~";
  return get(
    `dags/${dag}/dagRuns/~/taskInstances`,
    { operator_name_pattern: OPERATOR, limit: PAGE, ...params },
    "task instances",
  ).then(
    (answer) => answer.task_instances.filter(isOurs),
    (error) => {
      if (dagId && error.status === 404) return []; // a DAG that is no more
      throw error;
    },
  );
}

const oneInstance = (where, what) => get(`${instancePath(where)}${where.mapIndex >= 0 ? `/${where.mapIndex}` : ""}`, {}, what);

const whereOf = (one) => ({ dagId: one.dag_id, runId: one.dag_run_id, taskId: one.task_id, mapIndex: one.map_index ?? -1 });

const isBare = (instance) => !Object.keys(instance.rendered_fields ?? {}).length && instance.start_date !== null;

/** An instance with what was rendered of it, which Airflow 3.2 tells only of one at a time: its Page and its window. */
async function detailed(instance) {
  if (!isBare(instance)) return instance;
  return oneInstance(whereOf(instance), "task instances").catch((error) => {
    if ([403, 404].includes(error.status)) return instance;
    throw error;
  });
}

let hasStateStore = true; // until it is known that this Airflow has none

/** The progress that a task shows while it runs; null where it shows none, as before Airflow 3.3. */
export async function progressOf(where) {
  if (!hasStateStore) return null;
  try {
    const params = { map_index: where.mapIndex };
    const answer = await get(`${instancePath(where)}/state-store`, params, "the Task State Store");
    return answer.task_state_store.find((entry) => entry.key === PROGRESS_KEY)?.value ?? null;
  } catch (error) {
    if (error.status === 422) hasStateStore = false; // Airflow 3.2 takes the last word of the path for a map index
    if ([403, 404, 422].includes(error.status)) return null;
    throw error;
  }
}

async function resultOf(instance) {
  const where = { dagId: instance.dag_id, runId: instance.dag_run_id, taskId: instance.task_id };
  try {
    const params = { map_index: instance.map_index };
    const answer = await get(`${instancePath(where)}/xcomEntries/return_value`, params, "results of tasks");
    return exportOfResult(instance, answer.value);
  } catch (error) {
    if ([403, 404].includes(error.status)) return null;
    throw error;
  }
}

/** What is under way now, each with its progress; of very many the oldest first. */
export async function underWay(dagId, pages) {
  const found = await instances(dagId, { state: LIVE, order_by: "start_date" });
  const oldest = found.slice(0, MOST_PROGRESS);
  const first = oldest.length ? [await progressOf(whereOf(oldest[0]))] : []; // alone: it says whether to ask for the others
  const [rest, details] = await Promise.all([
    Promise.all(oldest.slice(1).map((one) => progressOf(whereOf(one)))),
    Promise.all(oldest.map(detailed)),
  ]);
  const shown = [...first, ...rest];
  return found.map((one, number) => attemptOf(details[number] ?? one, shown[number] ?? null, pages));
}

/**
 * What Airflow's records hold of the last days: exports by asset events, and by results where a task has no outlet; failures.
 *
 * @returns {exports, failed, dags, from, cut, refused}: `from` is when the records that were read begin, `cut` whether there are
 *   more than were read, `refused` what the user may not read, in sentences.
 */
export async function history(days, dagId) {
  const from = Date.now() - days * DAY;
  const since = new Date(from).toISOString();
  const [done, failures] = await Promise.all([
    instances(dagId, { state: "success", order_by: "-end_date", run_after_gte: since }),
    instances(dagId, { state: FAILED, order_by: "-start_date", run_after_gte: since }),
  ]);
  const dags = [...new Set([...done, ...failures].map((one) => one.dag_id))].sort();
  const refused = [];
  const bare = failures.filter(isBare).slice(0, MOST_DETAILS);
  const most = MOST_REQUESTS - 3 - bare.length; // beside those for instances, and for what is under way
  const { events, requests, cut } = await eventsOf(dagId ? [dagId] : dags, since, most).catch((error) => {
    if (error.status !== 403) throw error;
    refused.push(error.message);
    return { events: [], requests: 1, cut: false };
  });
  const exports = events.map(exportOfEvent).filter(Boolean);
  const known = new Set(exports.map((one) => one.key));
  const unknown = done.filter((one) => !known.has(keyOf(one.dag_id, one.dag_run_id, one.task_id, one.map_index)));
  const results = await Promise.all(unknown.slice(0, most - requests).map(resultOf));
  const details = new Map(await Promise.all(bare.map(async (one) => [one, await detailed(one)])));
  const all = eachOnce([...exports, ...results.filter(Boolean)]).sort((a, b) => b.at - a.at);
  const pages = pagesOfTasks(all);
  return {
    exports: all,
    failed: failures.map((one) => attemptOf(details.get(one) ?? one, null, pages)),
    pages,
    dags,
    from,
    cut: cut || unknown.length > most - requests,
    refused,
  };
}

async function eventsOf(dags, since, most) {
  // Of few DAGs each is asked for, so that the events of other teams cost nothing.
  const sources = dags.length > MOST_DAGS ? [null] : dags;
  const ask = (source, offset) =>
    get(
      "assets/events",
      { limit: PAGE, offset, order_by: "-timestamp", timestamp_gte: since, source_dag_id: source },
      "asset events",
    );
  const firsts = await Promise.all(sources.map((source) => ask(source, 0)));
  const further = firsts.flatMap(({ asset_events: { length }, total_entries: total }, number) =>
    Array.from({ length: length ? Math.ceil(total / length) - 1 : 0 }, (_, page) => [sources[number], (page + 1) * length]),
  );
  const asked = further.slice(0, Math.max(0, most - firsts.length));
  const answers = [...firsts, ...(await Promise.all(asked.map(([source, offset]) => ask(source, offset))))];
  return { events: answers.flatMap((answer) => answer.asset_events), requests: answers.length, cut: asked.length < further.length };
}

/** One task instance, as the tab shows it: {instance, ours, progress, result}. */
export async function taskOf(where) {
  const instance = await oneInstance(where, "this task instance");
  if (!isOurs(instance)) return { instance, ours: false };
  const [progress, result] = await Promise.all([progressOf(where), instance.state === "success" ? resultOf(instance) : null]);
  return { instance, ours: true, progress, result };
}
