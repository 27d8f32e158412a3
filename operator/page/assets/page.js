// Everything here is a convenience: without it the page reads as well, and is as new as its last load.
'use strict';
(() => {
  const root = document.documentElement;
  const each = (selector, act, within = document) => within.querySelectorAll(selector).forEach(act);

  // Before anything is painted.
  const keep = (value) => { try { value ? localStorage.setItem('theme', value) : localStorage.removeItem('theme'); } catch { /* not allowed: it is for this view alone */ } };
  const kept = () => { try { return localStorage.getItem('theme'); } catch { return null; } };
  const theme = (value) => { value ? root.dataset.theme = value : delete root.dataset.theme; };
  theme(kept());

  function themes() {
    const button = document.getElementById('theme');
    const words = { '': 'Theme: system', light: 'Theme: light', dark: 'Theme: dark' };
    const say = () => { button.textContent = words[root.dataset.theme || '']; };
    button.hidden = false;
    say();
    button.addEventListener('click', () => {
      const next = { '': 'light', light: 'dark', dark: '' }[root.dataset.theme || ''];
      theme(next);
      keep(next);
      say();
    });
  }

  // The reader's own time; UTC on hover.
  const form = (options) => new Intl.DateTimeFormat(undefined, options);
  const full = form({ day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hour12: false });
  const hour = form({ hour: '2-digit', minute: '2-digit', hour12: false });
  const day = form({ day: 'numeric', month: 'short' });
  function times(within) {
    each('time', (time) => {
      time.title = time.textContent;
      time.textContent = full.format(new Date(time.dateTime));
    }, within);
    each('[data-time]', (text) => {
      const at = new Date(Number(text.dataset.time) * 1000);
      text.textContent = (text.dataset.form === 'day' ? day : hour).format(at);
    }, within);
  }

  // All charts are read at one time.
  const digits = (value, n) => (value < 0 ? '−' : '') + Math.abs(value).toFixed(n);
  function say(value, unit) {
    if (value === '' || value === undefined) return '–';
    const number = Number(value);
    if (unit.startsWith('percent')) return `${digits(number * 100, Number(unit.slice(7) || 1))}\u00a0%`;
    if (unit === 'rate') return digits(number, Math.abs(number) >= 100 ? 0 : 1);
    if (unit === 'score') return digits(number, 2);
    return number === 0 ? '0' : String(Number(number.toPrecision(3)));
  }
  let place = null;
  function readAt(wanted) {
    const charts = document.getElementById('charts');
    if (!charts) return;
    const { from, step, count, share } = charts.dataset;
    const last = Number(count) - 1;
    place = wanted === null ? null : Math.max(0, Math.min(last, wanted));
    const shown = place === null ? last : place;
    each('[data-values]', (text) => {
      text.values ??= text.dataset.values.split(',');
      text.now ??= text.textContent;
      text.textContent = place === null ? text.now : say(text.values[shown], text.dataset.unit);
    }, charts);
    each('.cur', (line) => {
      const x = `${(shown / Math.max(last, 1)) * Number(share) * 100}%`;
      line.setAttribute('x1', x);
      line.setAttribute('x2', x);
      line.setAttribute('visibility', place === null ? 'hidden' : 'visible');
    }, charts);
    const at = document.getElementById('at');
    const scrub = document.getElementById('scrub');
    const time = full.format(new Date((Number(from) + Number(step) * shown) * 1000));
    at.hidden = place === null;
    at.textContent = place === null ? '' : `All charts at ${time}`;
    scrub.value = shown;
    scrub.setAttribute('aria-valuetext', time);
  }
  function charts() {
    const charts = document.getElementById('charts');
    if (!charts) return;
    charts.querySelector('.scrub').hidden = false;
    document.getElementById('scrub').addEventListener('input', (event) => readAt(Number(event.target.value)));
    const follow = (event) => {
      const plot = charts.querySelector('.plot').getBoundingClientRect();
      const { count, share } = charts.dataset;
      const x = (event.clientX - plot.left) / plot.width / Number(share);
      readAt(x > 1.02 ? null : Math.round(x * (Number(count) - 1)));
    };
    charts.addEventListener('pointermove', (event) => { if (!event.target.closest('.scrub')) follow(event); });
    charts.addEventListener('pointerdown', (event) => { if (!event.target.closest('.scrub, a')) follow(event); });
    charts.addEventListener('pointerleave', () => { if (document.activeElement?.id !== 'scrub') readAt(null); });
    readAt(place);
  }

  function copies(within) {
    each('.copy', (button) => {
      button.hidden = !navigator.clipboard;
      button.addEventListener('click', async () => {
        await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
        button.textContent = 'Copied';
        setTimeout(() => { button.textContent = 'Copy'; }, 1500);
      });
    }, within);
  }

  // What has changed is put in place of what was there; where the reader is, is kept.
  const sent = new Map();
  const remember = () => each('[data-live]', (part) => sent.set(part.id, part.innerHTML));
  function focusPath() {
    const focused = document.activeElement;
    const part = focused?.closest('[data-live]');
    if (!part) return null;
    const href = focused.getAttribute('href');
    return { part: part.id, selector: focused.id ? `#${CSS.escape(focused.id)}` : href && `[href="${CSS.escape(href)}"]` };
  }
  function put(fresh) {
    const focus = focusPath();
    for (const part of document.querySelectorAll('[data-live]')) {
      const next = fresh.getElementById(part.id);
      if (!next || sent.get(part.id) === next.innerHTML) continue;
      // Nobody's words are taken away while they write.
      if (part.querySelector('form') && part.contains(document.activeElement)) continue;
      sent.set(part.id, next.innerHTML);
      part.innerHTML = next.innerHTML;
      part.className = next.className;
      times(part);
      if (part.querySelector('#charts')) charts();
      if (part.id === 'foot') live(state);
    }
    read = new Date();
    document.title = fresh.title;
    if (focus?.selector) document.querySelector(`#${focus.part} ${focus.selector}`)?.focus({ preventScroll: true });
  }
  let asked = 0;
  // When what is shown was answered.
  let read = new Date();
  async function refresh() {
    const mine = ++asked;
    const answer = await fetch(location.href, { headers: { accept: 'text/html' }, cache: 'no-cache' });
    // A later question has overtaken this one.
    if (mine !== asked) return;
    if (!answer.ok) throw new Error(`answered ${answer.status}`);
    put(new DOMParser().parseFromString(await answer.text(), 'text/html'));
  }

  let state = '';
  function live(text) {
    state = text;
    const place = document.getElementById('live');
    if (place && place.textContent !== text) place.textContent = text;
  }
  const notLive = (why) => live(`Not live: ${why}. These are the numbers of ${hour.format(read)}.`);
  // What fails is tried again, later each time up to a minute, and not by all readers at once.
  const pause = (failed) => Math.min(60_000, 1000 * 2 ** failed) * (0.5 + Math.random() / 2);
  function listen() {
    let source;
    let timer;
    let again;
    let missed = 0;
    let refused = 0;
    const say = () => {
      if (missed) notLive('the page does not answer');
      else if (source.readyState === EventSource.OPEN) live('Live.');
      else notLive('the connection is being made again');
    };
    const soon = (wait = 150) => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        try {
          await refresh();
          missed = 0;
        } catch {
          missed += 1;
          soon(pause(missed));
        }
        say();
      }, wait);
    };
    const open = () => {
      source = new EventSource('/live');
      source.addEventListener('change', () => soon());
      // Something may have changed before it was listened for.
      source.addEventListener('open', () => { refused = 0; say(); soon(); });
      source.addEventListener('error', () => {
        say();
        // The browser makes a connection again that ended, and none that was refused. Then the numbers are at least read again.
        if (source.readyState !== EventSource.CLOSED) return;
        refused += 1;
        clearTimeout(again);
        again = setTimeout(() => { open(); soon(); }, pause(refused));
      });
    };
    open();
    addEventListener('pagehide', () => { clearTimeout(again); clearTimeout(timer); source.close(); });
  }

  // The filter is the address, so that a link shows what is seen.
  function filter() {
    const form = document.getElementById('filter');
    if (!form) return;
    let timer;
    const show = () => {
      const wanted = new URLSearchParams([...new FormData(form)].filter(([, value]) => value.trim()));
      history.replaceState(null, '', wanted.size ? `/?${wanted}` : '/');
      refresh().catch(() => form.submit());
    };
    form.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(show, 200); });
    form.addEventListener('submit', (event) => { event.preventDefault(); clearTimeout(timer); show(); });
  }

  document.addEventListener('DOMContentLoaded', () => {
    remember();
    times(document);
    themes();
    charts();
    copies(document);
    filter();
    listen();
  });
  // A page that is gone back to has lost its connection.
  addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
})();
