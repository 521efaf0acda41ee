// The page "Page conversations" and the tab "Export" of Airflow's UI. React, Chakra and the router are the host's own:
// https://airflow.apache.org/docs/apache-airflow/stable/howto/custom-view-plugin.html

import { history, taskOf, underWay } from "./records.js";
import * as rules from "./rules.js";

const { createElement: h, Fragment, useCallback, useEffect, useMemo, useRef, useState } = globalThis.React;
const C = globalThis.ChakraUI;
const { Link: RouterLink, useNavigate, useSearchParams } = globalThis.ReactRouterDOM;

const REFRESH_SECONDS = 10;
const RELOAD_SECONDS = 60;
const HOUR = 3600_000;
const DAYS = [[2, "2 days"], [7, "7 days"], [30, "30 days"], [90, "90 days"]];
const ROWS = 50;
const OPEN_ROWS = 3;
const LABEL_WIDTH = "15rem";

const COLOURS = { published: "green", "under way": "blue", failed: "red", late: "orange", missing: "red" };
const WORDS = {
  published: "published", "under way": "under way", failed: "failed", late: "late: nobody has begun it", missing: "missing",
};
const solid = (palette) => `var(--chakra-colors-${palette}-solid)`;

// ---- small parts

const Muted = (props) => h(C.Text, { as: "span", color: "fg.muted", fontSize: "sm", ...props });

const runPath = ({ dagId, runId, taskId, mapIndex }) =>
  `/dags/${encodeURIComponent(dagId)}/runs/${encodeURIComponent(runId)}/tasks/${encodeURIComponent(taskId)}` +
  (mapIndex >= 0 ? `/mapped/${mapIndex}` : "");

function To({ one, children, ...props }) {
  return h(C.Link, { asChild: true, color: "fg.info", ...props }, h(RouterLink, { to: runPath(one) }, children));
}

function Notice({ status = "info", title, children, action }) {
  return h(
    C.Alert.Root,
    { status, role: status === "error" ? "alert" : "status" },
    h(C.Alert.Indicator),
    h(C.Alert.Content, null, title && h(C.Alert.Title, null, title), h(C.Alert.Description, null, children)),
    action,
  );
}

const Loading = ({ what }) =>
  h(C.HStack, { py: 8, justifyContent: "center", role: "status" }, h(C.Spinner, { size: "sm" }), h(Muted, null, what));

function Select({ label, value, onChange, options }) {
  return h(
    C.HStack,
    { as: "label", gap: 2 },
    h(Muted, { whiteSpace: "nowrap" }, label),
    h(
      C.NativeSelect.Root,
      { size: "sm", width: "auto", minW: "8rem" },
      h(
        C.NativeSelect.Field,
        { value, onChange: (event) => onChange(event.target.value), "aria-label": label },
        options.map(([one, words]) => h("option", { key: one, value: one }, words)),
      ),
      h(C.NativeSelect.Indicator),
    ),
  );
}

function Section({ title, aside, children }) {
  return h(
    C.Box,
    { as: "section", mt: 6, "aria-label": title },
    h(
      C.Flex,
      { alignItems: "baseline", gap: 3, mb: 2, flexWrap: "wrap" },
      h(C.Heading, { as: "h2", size: "md" }, title),
      aside && h(Muted, null, aside),
    ),
    children,
  );
}

/** How much of the lists is walked, which is all of a task whose share can be told; where it cannot, the bar only moves. */
function Bar({ share, phase, palette }) {
  const known = share !== null && share !== undefined;
  const walked = known ? `${Math.round(share * 100)} % of the lists walked` : "walking the lists";
  return h(
    C.Box,
    null,
    h(
      C.Flex,
      { justifyContent: "space-between", gap: 3, mb: 1 },
      h(Muted, { fontSize: "xs" }, walked),
      phase !== "lists" && h(Muted, { fontSize: "xs" }, phaseOf(phase)),
    ),
    h(
      C.Progress.Root,
      { value: known ? Math.round(share * 100) : null, size: "sm", colorPalette: palette, "aria-label": walked },
      h(C.Progress.Track, null, h(C.Progress.Range)),
    ),
  );
}

/** Name and value pairs, in columns that line up. */
function Facts({ facts, columns = { base: 2, md: 4 } }) {
  return h(
    C.SimpleGrid,
    { columns, gap: 3 },
    facts
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([name, value]) =>
        h(
          C.Box,
          { key: name, minW: 0 },
          h(C.Text, { color: "fg.muted", fontSize: "xs" }, name),
          h(C.Text, { fontSize: "sm", overflowWrap: "anywhere", fontVariantNumeric: "tabular-nums" }, value),
        ),
      ),
  );
}

// ---- what is under way

const TASK_WORDS = {
  running: "running", deferred: "waiting", up_for_reschedule: "waiting", up_for_retry: "waits for its next try", queued: "queued",
  scheduled: "scheduled", restarting: "restarting",
};

// What a task or a folder is at, in words for who has not read the code.
const PHASES = { lists: "walking the lists", heads: "reading the lists again", histories: "reading long conversations", files: "fetching files" };
const phaseOf = (phase) => PHASES[phase] ?? phase;

/** What an export does just now, in words, with the palette of its kind. */
function stateOf(one, now) {
  const progress = one.progress;
  const waiting = progress?.waiting;
  if (one.taskState === "up_for_retry") return ["waits for its next try", "orange"];
  if (waiting && ["running", "deferred", "up_for_reschedule"].includes(one.taskState) && rules.parseTime(waiting.until) > now) {
    return [`waiting until ${rules.clock(rules.parseTime(waiting.until), now)}`, "orange"];
  }
  if (waiting && ["deferred", "up_for_reschedule"].includes(one.taskState)) return ["about to go on", "blue"];
  if (one.taskState === "running" && progress && progress.phase && progress.state === "exporting") return [phaseOf(progress.phase), "blue"];
  return [TASK_WORDS[one.taskState] ?? one.taskState, one.taskState === "running" ? "blue" : "gray"];
}

function Folders({ folders }) {
  if (!folders) return null;
  return h(
    C.Table.Root,
    { size: "sm", variant: "line", mt: 3 },
    h(
      C.Table.Header,
      null,
      h(
        C.Table.Row,
        null,
        ["Folder", "Phase", "List back to"].map((name) => h(C.Table.ColumnHeader, { key: name }, name)),
        ["Conversations", "Messages"].map((name) => h(C.Table.ColumnHeader, { key: name, textAlign: "end" }, name)),
      ),
    ),
    h(
      C.Table.Body,
      null,
      Object.entries(folders).map(([folder, one]) =>
        h(
          C.Table.Row,
          { key: folder },
          h(C.Table.Cell, null, folder),
          h(C.Table.Cell, null, `${phaseOf(one.phase)}${one.phase === "lists" && one.share !== null ? `, ${Math.round(one.share * 100)} %` : ""}`),
          h(C.Table.Cell, { whiteSpace: "nowrap" }, one.reached ? rules.minute(rules.parseTime(one.reached)) : "–"),
          h(C.Table.Cell, { textAlign: "end", fontVariantNumeric: "tabular-nums" }, rules.number(one.conversations)),
          h(C.Table.Cell, { textAlign: "end", fontVariantNumeric: "tabular-nums" }, rules.number(one.messages)),
        ),
      ),
    ),
  );
}

function Progress({ one, now, withFolders = false }) {
  const progress = one.progress ?? {};
  const [, palette] = stateOf(one, now);
  const waiting = progress.waiting && rules.parseTime(progress.waiting.until) > now ? progress.waiting : null;
  return h(
    Fragment,
    null,
    progress.phase && h(Bar, { share: progress.share, phase: progress.phase, palette: waiting ? "orange" : palette }),
    waiting &&
      h(
        C.Text,
        { mt: 2, fontSize: "sm" },
        `Until ${rules.clock(rules.parseTime(waiting.until), now)} (${rules.duration((rules.parseTime(waiting.until) - now) / 1000)}): ${waiting.reason}.`,
      ),
    h(
      C.Box,
      { mt: 3 },
      h(Facts, {
        facts: [
          ["Conversations", progress.conversations === undefined ? null : rules.number(progress.conversations)],
          ["Messages", progress.messages === undefined ? null : rules.number(progress.messages)],
          ["Calls", progress.api_calls === undefined ? null : `${rules.number(progress.api_calls)}${progress.calls_per_second && !waiting ? ` (${progress.calls_per_second.toFixed(1)}/s)` : ""}`],
          ["Limit used", progress.usage_percent === null || progress.usage_percent === undefined ? null : `${progress.usage_percent} %`],
          ["Waited so far", progress.waited_seconds ? rules.duration(progress.waited_seconds) : null],
          ["Under way for", one.startedAt ? rules.duration((now - one.startedAt) / 1000) : null],
          ["Expected end", progress.expected_end ? rules.clock(rules.parseTime(progress.expected_end), now) : null],
        ],
      }),
    ),
    withFolders && h(Folders, { folders: progress.folders }),
  );
}

function LiveCard({ one, now }) {
  const [words, palette] = stateOf(one, now);
  return h(
    C.Card.Root,
    { variant: "outline", size: "sm" },
    h(
      C.Card.Body,
      null,
      h(
        C.Flex,
        { justifyContent: "space-between", alignItems: "center", gap: 3 },
        h(C.Text, { fontWeight: "semibold", truncate: true }, one.pageId ? `Page ${one.pageId}` : one.label ?? one.taskId),
        h(C.Badge, { colorPalette: palette, variant: "subtle", flexShrink: 0 }, words),
      ),
      h(C.Text, { fontSize: "sm", truncate: true }, `${one.platform}, ${one.isKnown ? rules.windowText(one.since, one.until) : "about to begin"}`),
      h(
        To,
        { one, fontSize: "sm", mb: 2, width: "fit-content" },
        `${one.dagId} · ${one.taskId}${one.mapIndex >= 0 ? ` [${one.label ?? one.mapIndex}]` : ""}`,
      ),
      one.progress
        ? h(Progress, { one, now })
        : h(Muted, null, "Nothing is known of its progress yet; before Airflow 3.3 a task shows none."),
    ),
  );
}

function UnderWay({ live, now }) {
  if (!live.length) return h(Muted, null, "No export is under way.");
  return h(
    C.Box,
    { display: "grid", gridTemplateColumns: "repeat(auto-fill, minmax(24rem, 1fr))", gap: 3 },
    live.map((one) => h(LiveCard, { key: one.key, one, now })),
  );
}

// ---- the strip

function cellWords(cell, row, folder) {
  const where = `Page ${row.pageId}, ${row.platform}${folder ? `, ${folder}` : ""}`;
  const lines = [where, `${rules.windowText(cell.from, cell.to)}: ${WORDS[cell.state]}`];
  const one = cell.one;
  if (one && cell.state === "published") {
    const counts = folder && one.folders[folder] ? one.folders[folder] : one;
    lines[1] = `${rules.windowText(one.since, one.until)}: ${WORDS[cell.state]}`;
    lines.push(`${rules.plural(counts.conversations, "conversation")}, ${rules.plural(counts.messages, "message")}`);
    lines.push(...rules.withheldWords({ ...one, ...counts }));
    lines.push(`exported ${rules.minute(one.finishedAt)} UTC by ${one.dagId}`);
  } else if (one) {
    lines.push(`${one.dagId}, ${one.taskState}, try ${one.tries}`);
  }
  return lines;
}

function Cell({ cell, folder, from, to, active, onEnter, onPick }) {
  const left = (100 * (Math.max(cell.from, from) - from)) / (to - from);
  const right = (100 * (Math.min(cell.to, to) - from)) / (to - from);
  const palette = COLOURS[cell.state];
  const outlined = cell.state === "missing" || cell.state === "late";
  return h(
    "g",
    { onMouseEnter: onEnter, onClick: onPick, style: { cursor: cell.one ? "pointer" : "default" } },
    h("rect", {
      x: `${left}%`, width: `${Math.max(right - left, 0.15)}%`, y: 2, height: 16,
      fill: outlined ? (cell.state === "missing" ? "url(#pageconv-missing)" : "transparent") : solid(palette),
      stroke: active ? "var(--chakra-colors-fg)" : outlined ? solid(palette) : "var(--chakra-colors-bg)",
      strokeWidth: active ? 2 : 1,
      strokeDasharray: cell.state === "late" && !active ? "3 2" : undefined,
      "data-state": cell.state,
    }),
    cell.one && cell.state === "published" && rules.isWarned(cell.one, folder)
      ? h("rect", { x: `${left}%`, width: `${Math.max(right - left, 0.15)}%`, y: 18, height: 2, fill: solid("orange"), "data-state": "warned" })
      : null,
  );
}

function Line({ row, folder, cells, from, to, active, setActive, label }) {
  const navigate = useNavigate();
  const number = active && active.row === row.key && active.folder === folder ? active.number : -1;
  const at = (next, event) => setActive({ row: row.key, folder, number: next, words: cellWords(cells[next], row, folder), ...place(event) });
  const pick = (cell) => cell?.one && navigate(runPath(cell.one));
  const onKeyDown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -cells.length, End: cells.length }[event.key];
    if (step !== undefined && cells.length) {
      event.preventDefault();
      at(Math.min(Math.max((number < 0 ? cells.length - 1 : number) + (number < 0 ? 0 : step), 0), cells.length - 1), event);
    } else if (event.key === "Enter") pick(cells[number]);
    else if (event.key === "Escape") setActive(null);
  };
  const counts = cells.reduce((sums, cell) => ({ ...sums, [cell.state]: (sums[cell.state] ?? 0) + 1 }), {});
  const summary = Object.entries(counts).map(([state, count]) => `${count} ${state}`).join(", ");
  return h(
    C.Flex,
    { alignItems: "center", minHeight: "1.5rem" },
    h(C.Box, { width: LABEL_WIDTH, flexShrink: 0, pe: 2, minW: 0 }, label),
    h(
      "svg",
      {
        width: "100%", height: 20, tabIndex: 0, role: "group", "aria-label": `Page ${row.pageId}, ${folder ?? "all folders"}: ${summary || "nothing"}`,
        onKeyDown, onFocus: (event) => number < 0 && cells.length && event.target.matches(":focus-visible") && at(cells.length - 1, event),
        onBlur: () => setActive(null), onMouseLeave: () => setActive(null),
        style: { display: "block", background: "var(--chakra-colors-bg-muted)", borderRadius: 2 },
      },
      cells.map((cell, index) =>
        h(Cell, {
          key: `${cell.from}/${cell.to}/${cell.state}`, cell, folder, from, to, active: index === number,
          onEnter: (event) => at(index, event), onPick: () => pick(cell),
        }),
      ),
    ),
  );
}

/** Where the words of a cell stand: beneath it, within the window. */
function place(event) {
  const box = event.currentTarget.getBoundingClientRect();
  const x = event.clientX ?? box.left + box.width / 2;
  return { x: Math.max(8, Math.min(x, globalThis.innerWidth - 330)), y: box.bottom + 6 };
}

function Axis({ from, to }) {
  const days = Math.round((to - from) / (24 * HOUR));
  const step = days <= 2 ? 6 * HOUR : days <= 7 ? 24 * HOUR : days <= 30 ? 5 * 24 * HOUR : 15 * 24 * HOUR;
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at < to; at += step) ticks.push(at);
  return h(
    C.Flex,
    null,
    h(C.Box, { width: LABEL_WIDTH, flexShrink: 0 }),
    h(
      C.Box,
      { position: "relative", height: "1.4rem", flexGrow: 1 },
      ticks
        .filter((at) => (at - from) / (to - from) < 0.94)
        .map((at) =>
          h(
            C.Text,
            {
              key: at, position: "absolute", left: `${(100 * (at - from)) / (to - from)}%`, fontSize: "xs", color: "fg.muted",
              borderLeftWidth: "1px", borderColor: "border", ps: 1, whiteSpace: "nowrap",
            },
            step < 24 * HOUR ? rules.minute(at).slice(5) : rules.day(at).slice(5),
          ),
        ),
    ),
  );
}

function Bars({ exports, from, to }) {
  const bars = rules.barsOf(exports).filter((bar) => bar.to > from);
  const most = Math.max(...bars.map((bar) => bar.messages), 0);
  if (!most) return null;
  return h(
    C.Flex,
    { alignItems: "end", mb: 1 },
    h(
      C.Box,
      { width: LABEL_WIDTH, flexShrink: 0, pe: 2 },
      h(Muted, { fontSize: "xs" }, `messages by window, ${rules.number(most)} at most`),
    ),
    h(
      "svg",
      { width: "100%", height: 44, role: "img", "aria-label": `Messages by window, ${rules.number(most)} at most`, style: { display: "block" } },
      bars.map((bar) => {
        const height = Math.max((42 * bar.messages) / most, bar.messages ? 1 : 0);
        const left = (100 * (Math.max(bar.from, from) - from)) / (to - from);
        const width = (100 * (bar.to - Math.max(bar.from, from))) / (to - from);
        return h(
          "rect",
          {
            key: `${bar.from}/${bar.to}`, x: `${left}%`, width: `${Math.max(width, 0.1)}%`, y: 44 - height, height,
            fill: "var(--chakra-colors-fg-subtle)", stroke: "var(--chakra-colors-bg)",
          },
          h("title", null, `${rules.windowText(bar.from, bar.to)}: ${rules.plural(bar.messages, "message")}`),
        );
      }),
    ),
  );
}

function Legend() {
  const swatch = (state) =>
    h(
      C.HStack,
      { key: state, gap: 1 },
      h(
        "svg",
        { width: 14, height: 14, "aria-hidden": true },
        h("rect", {
          x: 1, y: 1, width: 12, height: 12, strokeWidth: 1, stroke: solid(COLOURS[state]),
          fill: state === "missing" ? "url(#pageconv-missing)" : state === "late" ? "transparent" : solid(COLOURS[state]),
          strokeDasharray: state === "late" ? "3 2" : undefined,
        }),
      ),
      h(Muted, { fontSize: "xs" }, state),
    );
  return h(
    C.HStack,
    { gap: 4, mb: 3, flexWrap: "wrap" },
    Object.keys(COLOURS).map(swatch),
    h(
      C.HStack,
      { gap: 1 },
      h("svg", { width: 14, height: 14, "aria-hidden": true }, h("rect", { x: 0, y: 8, width: 14, height: 3, fill: solid("orange") })),
      h(Muted, { fontSize: "xs" }, "with a warning"),
    ),
  );
}

function Windows({ rows, exports, from, to, manyDestinations }) {
  const [active, setActive] = useState(null);
  const [open, setOpen] = useState({});
  if (!rows.length) return h(Muted, null, "No window was exported in this time.");
  const label = (row, isOpen) =>
    h(
      C.HStack,
      { gap: 1, minW: 0 },
      row.folders.length > 1
        ? h(
            C.Box,
            {
              as: "button", type: "button", width: "1.2rem", flexShrink: 0, cursor: "pointer", "aria-expanded": isOpen,
              "aria-label": `folders of the Page ${row.pageId}`, onClick: () => setOpen({ ...open, [row.key]: !isOpen }),
            },
            isOpen ? "▾" : "▸",
          )
        : h(C.Box, { width: "1.2rem", flexShrink: 0 }),
      h(
        C.Box,
        { minW: 0 },
        h(C.Text, { fontSize: "sm", fontVariantNumeric: "tabular-nums", truncate: true, title: row.destination }, row.pageId, " ", h(Muted, { fontSize: "xs" }, row.platform)),
        manyDestinations && h(C.Text, { fontSize: "xs", color: "fg.muted", truncate: true, title: row.destination }, row.destination),
      ),
    );
  return h(
    C.Box,
    null,
    h(
      "svg",
      { width: 0, height: 0, style: { position: "absolute" }, "aria-hidden": true },
      h(
        "defs",
        null,
        h(
          "pattern",
          { id: "pageconv-missing", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
          h("rect", { width: 2, height: 5, fill: solid("red") }),
        ),
      ),
    ),
    h(Legend),
    h(Bars, { exports, from, to }),
    // However many Pages there are, the days are seen.
    h(C.Box, { position: "sticky", top: 0, zIndex: 1, bg: "bg", mb: 1 }, h(Axis, { from, to })),
    h(
      C.VStack,
      { alignItems: "stretch", gap: 0.5 },
      rows.flatMap((row) => {
        const isOpen = open[row.key] ?? rows.length <= OPEN_ROWS;
        const common = { row, from, to, active, setActive };
        const whole = h(Line, { key: row.key, ...common, folder: null, cells: rules.merged(row.folders), label: label(row, isOpen) });
        if (!isOpen || row.folders.length < 2) return [whole];
        return [
          whole,
          ...row.folders.map(({ folder, cells }) =>
            h(Line, { key: `${row.key}/${folder}`, ...common, folder, cells, label: h(Muted, { ps: "1.4rem", fontSize: "xs" }, folder) }),
          ),
        ];
      }),
    ),
    active &&
      h(
        C.Box,
        {
          position: "fixed", left: `${active.x}px`, top: `${active.y}px`, zIndex: "tooltip", bg: "bg.panel", borderWidth: "1px", borderRadius: "md",
          shadow: "md", px: 3, py: 2, maxW: "20rem", pointerEvents: "none", role: "tooltip",
        },
        active.words.map((line, index) => h(C.Text, { key: line, fontSize: "sm", fontWeight: index === 1 ? "semibold" : "normal" }, line)),
      ),
    h(C.Box, { srOnly: true, "aria-live": "polite" }, active ? active.words.join(". ") : ""),
  );
}

// ---- the table

const COLUMNS = [
  ["Page", "pageId"],
  ["Platform", "platform"],
  ["Window (UTC)", (one) => one.until ?? one.at],
  ["Conversations", "conversations"],
  ["Messages", "messages"],
  ["Withheld", "withheld"],
  ["Files", "files"],
  ["Size", "bytes"],
  ["Calls", "api_calls"],
  ["Waited", "waited_seconds"],
  ["Duration", rules.durationOf],
  ["State", "state"],
  ["DAG", "dagId"],
];
const NUMBERS = 3;
const LAST_NUMBER = 10;

function Exports({ all }) {
  const [[column, descending], setOrder] = useState([2, true]);
  const [shown, setShown] = useState(ROWS);
  const rows = useMemo(() => rules.sorted(all, COLUMNS[column][1], descending), [all, column, descending]);
  const most = Math.max(...all.map((one) => one.messages ?? 0), 1);
  if (!all.length) return h(Muted, null, "No export ended in this time.");
  const isNumber = (index) => index >= NUMBERS && index <= LAST_NUMBER;
  const header = COLUMNS.map(([name], index) =>
    h(
      C.Table.ColumnHeader,
      {
        key: name, textAlign: isNumber(index) ? "end" : "start", whiteSpace: "nowrap",
        "aria-sort": index === column ? (descending ? "descending" : "ascending") : "none",
      },
      h(
        C.Box,
        {
          as: "button", type: "button", cursor: "pointer", fontWeight: "semibold", position: "relative",
          onClick: () => setOrder([index, index === column ? !descending : isNumber(index) || index === 2]),
        },
        name,
        // Beside the name, in the space between two columns: numbers and their names end at the same edge.
        index === column &&
          h(
            C.Box,
            { as: "span", position: "absolute", [isNumber(index) ? "right" : "left"]: "100%", px: "1px", "aria-hidden": true },
            descending ? "↓" : "↑",
          ),
      ),
    ),
  );
  const digits = { textAlign: "end", fontVariantNumeric: "tabular-nums", whiteSpace: "nowrap" };
  const line = (one) =>
    h(
      C.Table.Row,
      { key: `${one.key}/${one.state}` },
      h(C.Table.Cell, { fontVariantNumeric: "tabular-nums" }, one.pageId ?? one.label ?? "–"),
      h(C.Table.Cell, null, one.platform),
      h(C.Table.Cell, { whiteSpace: "nowrap" }, h(To, { one }, one.isKnown === false ? "about to begin" : rules.windowText(one.since, one.until))),
      h(C.Table.Cell, digits, rules.number(one.conversations)),
      h(
        C.Table.Cell,
        { ...digits, position: "relative", minW: "5rem" },
        rules.number(one.messages),
        one.messages !== undefined && h(
          C.Box,
          { position: "absolute", bottom: "3px", insetX: "0.45rem", height: "3px", bg: "bg.muted", "aria-hidden": true },
          h(C.Box, { height: "3px", width: `${(100 * (one.messages ?? 0)) / most}%`, bg: "fg.subtle", ms: "auto" }),
        ),
      ),
      h(
        C.Table.Cell,
        { ...digits, color: one.withheld ? "fg.warning" : undefined, title: one.state === "published" ? rules.withheldWords(one).join("; ") : undefined },
        one.state === "published" ? rules.number(one.withheld) : "–",
      ),
      h(C.Table.Cell, digits, rules.number(one.files)),
      h(C.Table.Cell, digits, rules.bytes(one.bytes)),
      h(C.Table.Cell, digits, rules.number(one.api_calls)),
      h(C.Table.Cell, digits, one.waited_seconds === undefined ? "–" : rules.duration(one.waited_seconds)),
      h(C.Table.Cell, digits, one.state === "published" ? rules.duration(rules.durationOf(one)) : "–"),
      h(C.Table.Cell, null, h(C.Badge, { colorPalette: COLOURS[one.state], variant: "subtle" }, one.state)),
      h(C.Table.Cell, { maxW: "9rem", truncate: true, title: one.dagId }, one.dagId),
    );
  return h(
    C.Box,
    null,
    h(
      C.Table.ScrollArea,
      { borderWidth: "1px", borderRadius: "md" },
      h(
        C.Table.Root,
        { size: "sm", variant: "line", css: { "& th, & td": { paddingInline: "0.45rem" } } },
        h(C.Table.Header, null, h(C.Table.Row, null, header)),
        h(C.Table.Body, null, rows.slice(0, shown).map(line)),
      ),
    ),
    rows.length > shown &&
      h(C.Button, { size: "sm", variant: "outline", mt: 2, onClick: () => setShown(shown + ROWS) }, `Show more (${rows.length - shown})`),
  );
}

// ---- the page

// The host mounts the page anew when its address changes for the first time: what was just read is not read again.
const last = { days: null, dagId: null, at: 0, found: null };
const kept = (days, dagId) => (last.days === days && last.dagId === dagId ? last.found : null);
const isFresh = (days, dagId) => kept(days, dagId) !== null && Date.now() - last.at < RELOAD_SECONDS * 1000;

function useRecords(days, dagId) {
  const [records, setRecords] = useState(() => kept(days, dagId));
  const [live, setLive] = useState([]);
  const [error, setError] = useState(null);
  const [now, setNow] = useState(Date.now());
  const keys = useRef("");
  const turn = useCallback(
    async (whole, is) => {
      try {
        let pages = is.pages;
        if (whole) {
          const found = await history(days, dagId);
          if (is.over) return;
          pages = is.pages = found.pages;
          Object.assign(last, { days, dagId, at: Date.now(), found });
          setRecords(found);
        }
        const running = await underWay(dagId, pages);
        if (is.over) return;
        const next = running.map((one) => one.key).join();
        // What was under way and is no more has ended: what it exported is to be seen at once.
        const ended = keys.current && keys.current !== next;
        keys.current = next;
        setLive(running);
        setError(null);
        setNow(Date.now());
        if (ended && !whole) await turn(true, is);
      } catch (problem) {
        if (!is.over) setError(problem);
      }
    },
    [days, dagId],
  );
  useEffect(() => {
    const found = kept(days, dagId);
    const is = { over: false, pages: found?.pages ?? new Map() };
    let timer;
    const again = async (whole) => {
      if (!document.hidden) await turn(whole, is);
      if (!is.over) timer = setTimeout(() => again(!isFresh(days, dagId)), REFRESH_SECONDS * 1000);
    };
    setRecords(found);
    keys.current = "";
    again(!isFresh(days, dagId));
    return () => {
      is.over = true;
      clearTimeout(timer);
    };
  }, [turn, days, dagId]);
  return { records, live, error, now };
}

function Totals({ live, rows, now }) {
  const waiting = live.filter((one) => stateOf(one, now)[1] === "orange").length;
  const { missing, late, failed } = rules.troubles(rows);
  const chips = [
    [live.length, "under way", "blue"],
    [waiting, waiting === 1 ? "of them waits" : "of them wait", "orange"],
    [missing, missing === 1 ? "window missing" : "windows missing", "red"],
    [late, late === 1 ? "window late" : "windows late", "orange"],
    [failed, failed === 1 ? "window failed" : "windows failed", "red"],
  ].filter(([count]) => count);
  const published = rows.some((row) => row.folders.some(({ cells }) => cells.some((cell) => cell.state === "published")));
  if (published && !missing && !late && !failed) chips.push([null, "no window missing", "green"]);
  return h(
    C.HStack,
    { gap: 2, flexWrap: "wrap", mt: 2 },
    chips.map(([count, words, palette]) =>
      h(C.Badge, { key: words, colorPalette: palette, variant: "subtle", size: "md" }, count === null ? words : `${rules.number(count)} ${words}`),
    ),
  );
}

export function PageConversations() {
  const [params, setParams] = useSearchParams();
  const days = Number(params.get("days")) || 7;
  const [pageId, dagId, state] = [params.get("page_id") ?? "", params.get("dag_id") ?? "", params.get("state") ?? ""];
  const set = (name) => (value) => {
    const next = new URLSearchParams(params);
    if (value) next.set(name, value);
    else next.delete(name);
    setParams(next, { replace: true });
  };
  const { records, live, error, now } = useRecords(days, dagId);
  const ofPage = (one) => !pageId || one.pageId === pageId;
  const exports = useMemo(() => (records?.exports ?? []).filter(ofPage), [records, pageId]);
  const failed = useMemo(() => (records?.failed ?? []).filter(ofPage), [records, pageId]);
  const shown = live.filter(ofPage);
  const from = records?.from ?? now - days * 24 * HOUR;
  const rows = useMemo(() => rules.rowsOf(exports, [...shown, ...failed], from, now), [exports, failed, live, from, now]);
  const table = [...exports, ...failed, ...shown].filter((one) => !state || one.state === state);
  const pages = [...new Set([...(records?.exports ?? []), ...live, ...(records?.failed ?? []), { pageId: pageId || null }].map((one) => one.pageId).filter(Boolean))].sort();
  const dags = [...new Set([...(records?.dags ?? []), ...(dagId ? [dagId] : []), ...live.map((one) => one.dagId)])].sort();
  const destinations = new Set(rows.map((row) => row.destination));
  return h(
    C.Box,
    { p: 4, height: "100%", overflowY: "auto", "data-testid": "page-conversations" },
    h(
      C.Flex,
      { justifyContent: "space-between", alignItems: "center", gap: 4, flexWrap: "wrap" },
      h(C.Heading, { as: "h1", size: "lg" }, "Page conversations"),
      h(
        C.HStack,
        { gap: 4, flexWrap: "wrap" },
        h(Select, { label: "Page", value: pageId, onChange: set("page_id"), options: [["", "all"], ...pages.map((one) => [one, one])] }),
        h(Select, { label: "DAG", value: dagId, onChange: set("dag_id"), options: [["", "all"], ...dags.map((one) => [one, one])] }),
        h(Select, { label: "State", value: state, onChange: set("state"), options: [["", "all"], ...["published", "under way", "failed"].map((one) => [one, one])] }),
        h(Select, { label: "Last", value: String(days), onChange: set("days"), options: DAYS.map(([one, words]) => [String(one), words]) }),
      ),
    ),
    error && h(C.Box, { mt: 3 }, h(Notice, { status: "error" }, `${error.message} It is tried again every ${REFRESH_SECONDS} seconds.`)),
    records === null && !error && h(Loading, { what: "Reading what Airflow's records hold …" }),
    records !== null &&
      h(
        Fragment,
        null,
        h(Totals, { live: shown, rows, now }),
        records.refused.map((sentence) => h(C.Box, { key: sentence, mt: 3 }, h(Notice, { status: "warning" }, sentence))),
        records.cut &&
          h(
            C.Box,
            { mt: 3 },
            h(Notice, { status: "warning" }, "There are more exports than are shown: choose one DAG, or fewer days. What looks missing at the left may not have been read."),
          ),
        !records.exports.length && !records.failed.length && !live.length
          ? h(
              C.Box,
              { mt: 6 },
              h(
                Notice,
                { title: "No export in this time" },
                "Here stands what tasks of PageConversationsToObjectStorageOperator export, in the DAGs that you may read. " +
                  "The example DAGs are the quickest way to a first one.",
              ),
            )
          : h(
              Fragment,
              null,
              h(Section, { title: "Under way", aside: `as of ${rules.clock(now, now)}, refreshed every ${REFRESH_SECONDS} s` }, h(UnderWay, { live: shown, now })),
              h(
                Section,
                {
                  title: "Windows",
                  aside: `what Airflow's records hold since ${rules.minute(from)} UTC; they do not say what lies in the store, nor what was deleted there`,
                },
                h(Windows, { rows, exports, from, to: now, manyDestinations: destinations.size > 1 }),
              ),
              h(Section, { title: "Exports", aside: rules.plural(table.length, "row") }, h(Exports, { all: table })),
            ),
      ),
  );
}

// ---- the tab of a task instance

function Result({ one }) {
  const withheld = rules.withheldWords(one);
  const carried = rules.carriedWords(one);
  const text = (words) => h(C.Text, { key: words, fontSize: "sm" }, words);
  const digits = { textAlign: "end", fontVariantNumeric: "tabular-nums" };
  const names = ["Conversations", "Messages", "Without details", "Left out", "Carried over", "Files", "Size"];
  return h(
    Fragment,
    null,
    h(Facts, {
      facts: [
        ["Page", `${one.pageId} (${one.platform})`],
        ["Window (UTC)", rules.windowText(one.since, one.until)],
        ["Conversations", rules.number(one.conversations)],
        ["Messages", rules.number(one.messages)],
        ["Calls", rules.number(one.api_calls)],
        ["Waited", rules.duration(one.waited_seconds)],
        ["Duration, waits included", rules.duration(rules.durationOf(one))],
        ["Size", `${rules.bytes(one.bytes)} in ${rules.plural(one.files, "file")}`],
      ],
    }),
    h(C.Heading, { as: "h3", size: "sm", mt: 5, mb: 1 }, "Withheld"),
    withheld.length ? withheld.map(text) : text("Nothing."),
    carried && text(`${carried}.`),
    one.warnings.length > 0 && h(C.VStack, { alignItems: "stretch", gap: 2, mt: 3 }, one.warnings.map((words) => h(Notice, { key: words, status: "warning" }, words))),
    h(C.Heading, { as: "h3", size: "sm", mt: 5, mb: 1 }, "Folders"),
    h(
      C.Table.ScrollArea,
      { borderWidth: "1px", borderRadius: "md" },
      h(
        C.Table.Root,
        { size: "sm" },
        h(
          C.Table.Header,
          null,
          h(
            C.Table.Row,
            null,
            h(C.Table.ColumnHeader, null, "Folder"),
            names.map((name) => h(C.Table.ColumnHeader, { key: name, textAlign: "end" }, name)),
            h(C.Table.ColumnHeader, null, "Published"),
          ),
        ),
        h(
          C.Table.Body,
          null,
          Object.entries(one.folders).map(([folder, counts]) =>
            h(
              C.Table.Row,
              { key: folder },
              h(C.Table.Cell, null, folder),
              [counts.conversations, counts.messages, counts.messages_unavailable, counts.messages_undated, counts.messages_carried, counts.files].map((count, index) =>
                h(C.Table.Cell, { key: names[index], ...digits }, rules.number(count)),
              ),
              h(C.Table.Cell, digits, rules.bytes(counts.bytes)),
              h(C.Table.Cell, null, counts.published === "new" ? "at the end" : "before a wait or another try"),
            ),
          ),
        ),
      ),
    ),
    h(C.Heading, { as: "h3", size: "sm", mt: 5, mb: 1 }, "Where"),
    h(C.Text, { fontSize: "sm", fontFamily: "mono", overflowWrap: "anywhere" }, one.destination),
    one.manifests.map((path) => h(C.Text, { key: path, fontSize: "xs", fontFamily: "mono", color: "fg.muted", overflowWrap: "anywhere" }, path)),
  );
}

export function ExportTab({ dagId, runId, taskId, mapIndex }) {
  const index = Number.isInteger(Number(mapIndex)) && mapIndex !== null && mapIndex !== undefined && mapIndex !== "" ? Number(mapIndex) : -1;
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    let over = false;
    let timer;
    const look = async () => {
      let next = null;
      try {
        next = document.hidden ? null : await taskOf({ dagId, runId, taskId, mapIndex: index });
        if (over) return;
        if (next) setFound(next);
        setError(null);
        setNow(Date.now());
      } catch (problem) {
        if (!over) setError(problem);
      }
      const ended = next && (!next.ours || (next.instance.end_date && !rules.LIVE.includes(next.instance.state)));
      if (!over && !ended) timer = setTimeout(look, REFRESH_SECONDS * 1000);
    };
    setFound(null);
    look();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [dagId, runId, taskId, index]);
  const body = () => {
    if (!found) return error ? null : h(Loading, { what: "Reading what is known of this export …" });
    if (!found.ours) return h(Muted, null, "This task exports no Page conversations.");
    const { instance, progress, result } = found;
    if (result) return h(Result, { one: result });
    const one = rules.attemptOf(instance, progress);
    if (instance.state === "success") return h(Muted, null, "It ended, and its result is not in Airflow's records any more.");
    const [words, palette] = stateOf(one, now);
    return h(
      Fragment,
      null,
      h(
        C.HStack,
        { mb: 3 },
        h(C.Badge, { colorPalette: one.state === "failed" ? "red" : palette, variant: "subtle" }, one.state === "failed" ? "failed" : words),
        h(C.Text, null, `${one.pageId ? `Page ${one.pageId}, ` : ""}${one.platform}, ${rules.windowText(one.since, one.until)}`),
      ),
      one.progress?.reason && one.progress.state === "failed" && h(C.Box, { mb: 3 }, h(Notice, { status: "error" }, one.progress.reason)),
      one.progress
        ? h(Progress, { one, now: one.state === "failed" ? one.endedAt ?? now : now, withFolders: true })
        : h(Muted, null, "Nothing is known of its progress; before Airflow 3.3 a task shows none."),
    );
  };
  return h(
    C.Box,
    { p: 4, height: "100%", overflowY: "auto", "data-testid": "pageconv-export" },
    error && h(C.Box, { mb: 3 }, h(Notice, { status: "error" }, error.message)),
    body(),
  );
}

globalThis["Page conversations"] = PageConversations;
globalThis.Export = ExportTab;
globalThis.AirflowPlugin = PageConversations;
