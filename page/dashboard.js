"use strict";
// The status page. Everything that comes from the app is put in as text, never as HTML; the page's own
// policy (trusted types) would stop anything else.
(() => {
  const REFRESH_MS = 30000;
  const STALE_MINUTES = 5;
  const STORE = "jvb-autoscaler-key";
  const api = new URL("..", new URL(location.pathname.replace(/\/?$/, "/"), location.origin));
  const $ = (id) => document.getElementById(id);
  let key = sessionStorage.getItem(STORE) || localStorage.getItem(STORE) || "";
  const chosen = new Map(); // shard -> what the reader chose there: hours, filter
  const drawn = new Map(); // shard -> its article

  // --- asking ---------------------------------------------------------------------------------

  class NotPermitted extends Error {}

  async function ask(name, params = {}) {
    const url = new URL(name, api);
    for (const [field, value] of Object.entries(params)) url.searchParams.set(field, value);
    const answer = await fetch(url, {
      headers: { "x-functions-key": key },
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
    });
    if (answer.status === 401 || answer.status === 403) throw new NotPermitted();
    if (answer.status === 404) return null;
    const body = await answer.json();
    if (!answer.ok) throw new Error([body.error, ...(body.faults || [])].join("\n"));
    return body;
  }

  async function refresh() {
    if (!key) return showForm();
    $("freshness").textContent = "Asking the app …";
    try {
      const [status, explained] = await Promise.all([ask("status"), ask("explain").catch(() => null)]);
      hide("ask", true);
      hide("refresh", false);
      hide("forget", false);
      show(status, explained);
      trouble("");
    } catch (error) {
      if (error instanceof NotPermitted) return showForm("This key is not taken. Give another one.");
      trouble(`The app does not answer: ${error.message}. What stands below is old.`);
    }
  }

  function showForm(why) {
    forgetKey();
    hide("ask", false);
    hide("refresh", true);
    hide("forget", true);
    $("shards").replaceChildren();
    drawn.clear();
    trouble(why || "");
    $("freshness").textContent = "A key is needed";
    $("key").focus();
  }

  function forgetKey() {
    key = "";
    sessionStorage.removeItem(STORE);
    localStorage.removeItem(STORE);
  }

  // --- small parts ----------------------------------------------------------------------------

  function make(tag, text, name) {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = String(text);
    if (name) element.className = name;
    return element;
  }

  function hide(id, hidden) {
    $(id).hidden = hidden;
  }

  function trouble(text) {
    if ($("trouble").textContent !== text) $("trouble").textContent = text;
    hide("trouble", !text);
  }

  function ago(moment, now) {
    if (!moment) return "unknown";
    const minutes = Math.max(0, Math.floor((Date.parse(now) - Date.parse(moment)) / 60000));
    const days = Math.floor(minutes / 1440);
    const hours = Math.floor(minutes / 60) % 24;
    if (days) return `${days} d ${hours} h`;
    return hours ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
  }

  function clock(moment) {
    const element = make("time", moment ? `${moment.slice(11, 16)} UTC` : "");
    if (moment) {
      element.dateTime = moment;
      element.title = moment;
    }
    return element;
  }

  // Sentences name settings and commands in backquotes.
  function prose(text) {
    return String(text)
      .split("`")
      .map((part, number) => (number % 2 ? make("code", part) : document.createTextNode(part)));
  }

  const plain = (name) => String(name).replaceAll("_", " ");

  // --- showing --------------------------------------------------------------------------------

  function show(status, explained) {
    const faults = status.configuration.faults;
    if (!status.configuration.valid) {
      $("shards").replaceChildren(
        make("div", `The configuration is invalid, so nothing is done anywhere:\n${faults.join("\n")}`, "trouble"),
      );
      drawn.clear();
    }
    $("freshness").textContent = `As of ${status.at.slice(0, 10)} ${status.at.slice(11, 19)} UTC`;
    const why = new Map((explained ? explained.shards : []).map((each) => [each.shard, each]));
    const present = new Set(status.shards.map((shard) => shard.shard));
    for (const [name, article] of drawn) {
      if (!present.has(name)) {
        article.remove();
        drawn.delete(name);
      }
    }
    for (const shard of status.shards) showShard(shard, why.get(shard.shard), status);
  }

  function articleOf(name) {
    if (!drawn.has(name)) {
      const article = $("shard").content.firstElementChild.cloneNode(true);
      const title = article.querySelector("h2");
      title.textContent = name;
      title.id = `shard-${drawn.size}`;
      article.setAttribute("aria-labelledby", title.id);
      article.querySelector(".scroll").setAttribute("aria-label", `Bridges of ${name}`);
      chosen.set(name, { hours: 24, filter: "" });
      article.querySelector(".filter input").addEventListener("input", (event) => {
        chosen.get(name).filter = event.target.value.toLowerCase();
        filterRows(article, name);
      });
      for (const button of article.querySelectorAll(".choice button")) {
        button.addEventListener("click", () => {
          for (const each of article.querySelectorAll(".choice button"))
            each.setAttribute("aria-pressed", String(each === button));
          chosen.get(name).hours = Number(button.dataset.hours);
          showUsage(article, name);
        });
      }
      drawn.set(name, article);
      $("shards").append(article);
    }
    return drawn.get(name);
  }

  function showShard(shard, explained, status) {
    const article = articleOf(shard.shard);
    const part = (selector) => article.querySelector(selector);
    if (shard.error) {
      part(".sentence").textContent = shard.error;
      return;
    }
    part(".badges").replaceChildren(...badges(shard, status).map((text) => make("span", text, "badge")));
    part(".alerts").replaceChildren(...shard.alerts.map((alert) => alertItem(alert, status.at)));
    part(".figures").replaceChildren(...figures(shard.totals));
    const last = shard.last_tick_at ? ` (last tick ${ago(shard.last_tick_at, status.at)} ago)` : "";
    part(".sentence").textContent = shard.sentence + last;
    showNight(article, shard.night);
    showBridges(article, shard, status.at);
    showCommands(article, shard.commands || [], status.at);
    showRefused(article, explained ? explained.not_done : []);
    part(".happened ol").replaceChildren(...shard.events.map(eventItem));
    if (!shard.events.length) part(".happened ol").append(make("li", "Nothing since yesterday.", "quiet"));
    showUsage(article, shard.shard);
  }

  function badges(shard, status) {
    const found = [];
    if (status.dry_run) found.push("dry run: nothing is changed");
    if (shard.paused) found.push(shard.pause_reason || "paused, without a reason");
    const minutes = (Date.parse(status.at) - Date.parse(shard.last_tick_at)) / 60000;
    if (!shard.last_tick_at) found.push("no tick has run yet");
    else if (minutes > STALE_MINUTES) found.push(`no tick for ${ago(shard.last_tick_at, status.at)}: is the app running?`);
    return found;
  }

  function alertItem(alert, now) {
    const [kind, ...subject] = alert.key.split(":");
    const item = make("li");
    item.append(make("strong", plain(kind)), ` ${subject.join(":")}, for ${ago(alert.since, now)}`);
    return item;
  }

  function figures(totals) {
    if (totals.listed === undefined) return [];
    const shown = [
      ["Accept calls", totals.accepting],
      ["Machines", `${totals.listed}${totals.pending ? ` + ${totals.pending}` : ""}`],
      ["Minimum to maximum", `${totals.minimum} – ${totals.maximum}`],
      ["Conferences", totals.conferences],
      ["People", totals.participants],
      ["Out, Mbit/s", Math.round(totals.out_mbps)],
      ["Demand, bridges", totals.demand.toFixed(2)],
    ];
    return shown.map(([name, value]) => {
      const group = make("div");
      group.append(make("dt", name), make("dd", value));
      return group;
    });
  }

  function showNight(article, night) {
    const section = article.querySelector(".night");
    section.hidden = !night;
    if (!night) return;
    const done = night.of - night.outdated;
    const words = [`Night of ${night.date}: ${done} of ${night.of} bridges replaced`];
    if (night.beside) words.push(`${night.beside} cannot be drained now`);
    if (night.canary) words.push(`canary ${night.canary.verdict}${night.canary.why ? `: ${night.canary.why}` : ""}`);
    if (night.waits_for) words.push(`waits for ${night.waits_for}`);
    if (night.outcome) words.push(night.outcome);
    if (night.blocked_images && night.blocked_images.length) words.push(`blocked: ${night.blocked_images.join(", ")}`);
    section.querySelector(".night-words").textContent = `${words.join("; ")}.`;
    const bar = section.querySelector("progress");
    bar.setAttribute("aria-label", "Bridges replaced this night");
    bar.max = Math.max(1, night.of);
    bar.value = night.of ? done : 1;
  }

  function showBridges(article, shard, now) {
    const body = article.querySelector("tbody");
    body.replaceChildren(...shard.bridges.map((bridge) => bridgeRow(bridge, now)));
    filterRows(article, shard.shard);
  }

  const STAGES = {
    booting: "it boots, and takes calls when it has joined",
    fenced: "it was told to shut down, and ends when its calls do",
    deleting: "Azure deletes the machine",
    failed: "it never became a bridge",
  };

  function bridgeRow(bridge, now) {
    const row = make("tr");
    const name = make("th", bridge.name);
    name.scope = "row";
    name.title = bridge.name;
    const phase = make("td");
    phase.append(make("span", bridge.phase, `phase ${bridge.phase}`));
    if (bridge.purpose) phase.append(` ${plain(bridge.purpose)}`);
    const load = bridge.pressure === null ? "unknown" : `${Math.round(bridge.pressure * 100)} %`;
    const why = make("td", "", "why");
    why.append(...prose(bridge.why || STAGES[bridge.phase] || "nothing stands in its way"));
    if (bridge.why && bridge.why_since) why.append(make("span", ` for ${ago(bridge.why_since, now)}`, "quiet"));
    row.append(name, phase, make("td", ago(bridge.created, now), "up"), make("td", load, "load"), why);
    return row;
  }

  function filterRows(article, name) {
    const wanted = chosen.get(name).filter;
    const rows = [...article.querySelectorAll("tbody tr")];
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    const left = rows.filter((row) => !row.hidden).length;
    const none = article.querySelector(".none");
    none.hidden = left > 0;
    none.textContent = rows.length ? "No bridge matches." : "There is no bridge.";
    article.querySelector(".scroll").hidden = left === 0;
    article.querySelector(".filter").hidden = rows.length < 6;
  }

  function showCommands(article, commands, now) {
    const open = commands.filter((each) => each.state === "open" || each.state === "in_force");
    article.querySelector(".commands").hidden = !open.length;
    article.querySelector(".commands ul").replaceChildren(
      ...open.map((each) => {
        const of = each.bridge || each.image_version || (each.minimum ? `at least ${each.minimum}` : "");
        const item = make("li");
        item.append(make("strong", `${plain(each.kind)} ${of}`), ` ${plain(each.state)}, by ${each.by} ${ago(each.asked_at, now)} ago: ${each.why}`);
        if (each.outcome) item.append(make("div", each.outcome, "quiet"));
        return item;
      }),
    );
  }

  function showRefused(article, refusals) {
    const list = article.querySelector(".refused ul");
    list.replaceChildren(
      ...refusals.map((each) => {
        const item = make("li");
        if (each.name) item.append(make("strong", `${each.name}: `));
        item.append(...prose(each.meaning), make("span", ` (${each.detail}) since `, "quiet"), clock(each.since));
        if (each.way_out) {
          const way = make("div", "", "quiet");
          way.append(...prose(each.way_out));
          item.append(way);
        }
        return item;
      }),
    );
    if (!refusals.length) list.append(make("li", "Nothing was refused in the last tick.", "quiet"));
  }

  function eventItem(event) {
    const item = make("li");
    // A text begins with the name of its reason: the reader gets words.
    const text = event.text.replace(/^[a-z_]+(?=:| is over)/, plain);
    item.append(clock(event.at), " ", make("strong", plain(event.kind)), ` ${event.subject}: ${text}`);
    return item;
  }

  // --- usage ----------------------------------------------------------------------------------

  const CHARTS = [
    { title: "Bridges", series: [["accepting", "accept calls"], ["wanted", "wanted by load"]] },
    { title: "People in calls", series: [["participants", "people"]] },
    { title: "Mbit/s out", series: [["out_mbps", "Mbit/s"]] },
  ];
  const asked = new Map(); // shard -> when its usage was asked last, and for how long a time

  async function showUsage(article, shard) {
    const hours = chosen.get(shard).hours;
    const before = asked.get(shard);
    if (before && before.hours === hours && Date.now() - before.at < 5 * 60000) return;
    asked.set(shard, { hours, at: Date.now() });
    const words = article.querySelector(".usage-words");
    const charts = article.querySelector(".charts");
    let rows;
    try {
      rows = await usageOf(shard, hours);
    } catch (error) {
      words.textContent = `Usage could not be read: ${error.message}`;
      return charts.replaceChildren();
    }
    if (rows === null || !rows.length) {
      words.textContent = rows === null ? "This app does not tell its usage." : "No usage was recorded in this time.";
      return charts.replaceChildren();
    }
    words.textContent = `${rows.length} ${hours > 24 ? "quarters of an hour" : "minutes"} recorded in the last ${hours > 24 ? "7 days" : "24 hours"}.`;
    const figures = CHARTS.map((chart) => captioned(chart, rows));
    charts.replaceChildren(...figures); // all of them before the first is drawn: each takes its own width
    CHARTS.forEach((chart, number) => drawChart(figures[number], chart, rows, hours));
  }

  async function usageOf(shard, hours) {
    const now = new Date($("freshness").textContent.slice(6, 25).replace(" ", "T") + "Z");
    const from = new Date(now - hours * 3600000);
    const answer = await ask("usage", { shard, from: from.toISOString(), to: now.toISOString(), step: hours > 24 ? 15 : 1 });
    return answer && thinned(answer.rows || [], hours > 24 ? 15 : 1);
  }

  // A week of minutes is more than a phone has dots: the mean of each quarter of an hour is drawn.
  function thinned(rows, minutes) {
    const groups = new Map();
    for (const row of rows) {
      const at = Math.floor(Date.parse(row.at) / 60000 / minutes) * minutes * 60;
      if (!groups.has(at)) groups.set(at, []);
      groups.get(at).push(row);
    }
    const mean = (group, name) => {
      const known = group.map((row) => row[name]).filter((value) => typeof value === "number");
      return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
    };
    const names = CHARTS.flatMap((chart) => chart.series.map(([name]) => name));
    return [...groups]
      .sort((one, other) => one[0] - other[0])
      .map(([at, group]) => ({ at, ...Object.fromEntries(names.map((name) => [name, mean(group, name)])) }));
  }

  function captioned(chart, rows) {
    const figure = make("figure");
    const caption = make("figcaption", chart.title);
    chart.series.forEach(([name, label], number) => {
      const values = rows.map((row) => row[name]).filter((value) => value !== null);
      const most = values.length ? Math.max(...values) : 0;
      const mean = values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : 0;
      const sign = make("span", "", `key key-${number}`);
      sign.setAttribute("aria-hidden", "true");
      caption.append(sign, make("span", `${label}: at most ${round(most)}, on average ${round(mean)}`, "words"));
    });
    figure.append(caption);
    return figure;
  }

  function drawChart(figure, chart, rows, hours) {
    const colours = getComputedStyle(document.documentElement);
    const colour = (name) => colours.getPropertyValue(name).trim();
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    const options = {
      width: Math.max(200, figure.clientWidth - 28),
      height: 170,
      legend: { show: false },
      cursor: { show: false },
      scales: { y: { range: (_plot, _low, high) => [0, Math.max(1, high * 1.1)] } },
      axes: [{ ...axis, space: 70, values: (_plot, splits) => splits.map((at) => label(at, hours)) }, { ...axis, size: 44 }],
      series: [
        {},
        ...chart.series.map((_series, number) => ({
          stroke: colour(number ? "--warn" : "--accent"),
          width: 2,
          dash: number ? [6, 4] : undefined,
          points: { show: false },
          spanGaps: false,
        })),
      ],
    };
    const data = [rows.map((row) => row.at), ...chart.series.map(([name]) => rows.map((row) => row[name]))];
    const plot = new uPlot(options, data, figure);
    plot.root.setAttribute("aria-hidden", "true"); // its caption says the figures
  }

  function label(at, hours) {
    const iso = new Date(at * 1000).toISOString();
    return hours > 24 ? iso.slice(5, 10) : iso.slice(11, 16);
  }

  const round = (value) => (value >= 10 ? Math.round(value) : Math.round(value * 10) / 10);

  // --- beginning ------------------------------------------------------------------------------

  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    key = $("key").value.trim();
    ($("keep").checked ? localStorage : sessionStorage).setItem(STORE, key);
    $("key").value = "";
    refresh();
  });
  $("refresh").addEventListener("click", () => {
    asked.clear();
    refresh();
  });
  $("forget").addEventListener("click", () => showForm());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    asked.clear();
    if (key) refresh();
  });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (Math.abs(innerWidth - width) < 40) return;
    width = innerWidth;
    asked.clear();
    for (const [name, article] of drawn) showUsage(article, name);
  });
  setInterval(() => {
    if (key && document.visibilityState === "visible") refresh();
  }, REFRESH_MS);
  document.addEventListener("visibilitychange", () => {
    if (key && document.visibilityState === "visible") refresh();
  });
  refresh();
})();
